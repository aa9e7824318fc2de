"""What the queue server's gRPC side costs: `python -m bench.cloud`, under a minute.

The server runs in a process of its own with its tasks on disk, and its queue is paused, so that only creates are
counted. The client sends bytes serialised beforehand: the official client costs more than the server.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import grpc.aio
import psutil

from bench.rows import Row
from headrace.cloud import messages

QUEUE = "projects/bench/locations/here/queues/work"
SERVICE = "/google.cloud.tasks.v2.CloudTasks/"
IN_FLIGHT = 64
BODY = b"x" * 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """`creates` tasks made in `seconds`, for `cpu` seconds of the server's processor time."""

    creates: int
    seconds: float
    cpu: float

    @property
    def microseconds_each(self) -> float:
        return self.cpu / self.creates * 1e6

    @property
    def each_second(self) -> float:
        return self.creates / self.seconds


def measure() -> list[Row]:
    """The rows of this bench."""
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as (process, address):
        single, batch, idle = asyncio.run(_load(process, address))
    note = f"{IN_FLIGHT} calls in flight, 1 KB tasks, durable"
    return [
        Row("CreateTask, server CPU a call", single.microseconds_each, "µs", 250, note=note),
        Row("CreateTask, durable creates", single.each_second, "/s", note=note),
        Row("BatchCreateTasks of 100, server CPU a task", batch.microseconds_each, "µs"),
        Row("BatchCreateTasks of 100, durable creates", batch.each_second, "/s", 5000, at_least=True),
        Row("queue server without work, CPU", idle, "% of a core", 0.5),
    ]


@contextmanager
def _server(folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    (folder / "queue.yaml").write_text("queue:\n- name: work\n  rate: 500/s\n")
    options = ["--grpc-port=0", "--rest-port=0", "--json", "--project=bench", "--location=here"]
    files = [f"--data={folder / 'data'}", f"--queues={folder / 'queue.yaml'}"]
    command = [sys.executable, "-c", "from headrace.cli.emulator import command; command()", *options, *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["grpc"]
        try:
            yield psutil.Process(server.pid), address
        finally:
            server.terminate()


async def _load(process: psutil.Process, address: str) -> tuple[Measured, Measured, float]:
    create = messages.CreateTaskRequest(parent=QUEUE)
    create.task.http_request.url = "http://127.0.0.1:9/work"
    create.task.http_request.body = BODY
    batch = messages.BatchCreateTasksRequest(parent=QUEUE, requests=[create] * 100)
    async with grpc.aio.insecure_channel(address) as channel:
        pause = messages.PauseQueueRequest(name=QUEUE).SerializeToString()
        await channel.unary_unary(SERVICE + "PauseQueue")(pause)
        singly = (channel.unary_unary(SERVICE + "CreateTask"), create.SerializeToString(), 1)
        batched = (channel.unary_unary(SERVICE + "BatchCreateTasks"), batch.SerializeToString(), 100)
        await _drive(process, *singly, calls=2_000, in_flight=IN_FLIGHT)
        single = await _drive(process, *singly, calls=12_000, in_flight=IN_FLIGHT)
        many = await _drive(process, *batched, calls=400, in_flight=4)
    before = _cpu(process)
    await asyncio.sleep(5)
    return single, many, (_cpu(process) - before) / 5 * 100


async def _drive(
    process: psutil.Process,
    method: grpc.aio.UnaryUnaryMultiCallable,
    request: bytes,
    tasks: int,
    *,
    calls: int,
    in_flight: int,
) -> Measured:
    """Make `calls` calls of `tasks` tasks each, `in_flight` at a time."""
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            await method(request)

    cpu, started = _cpu(process), perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return Measured(calls * tasks, perf_counter() - started, _cpu(process) - cpu)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Print the rows."""
    for row in measure():
        print(row)


if __name__ == "__main__":
    main()
