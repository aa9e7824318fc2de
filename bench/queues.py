"""The queue server against its bars: `make bench-queues`, or `python -m bench.queues`, about three minutes.

Sink, server and raw clients are started here. The server is `headrace emulator` with its tasks on disk, in a process
of its own; CPU is that process's, all threads. Wall times move from run to run, so a rate is held against a bound of
the same run: wrk's POST/s on the same sink where wrk is installed, else those of the engine's own client. What is
measured by turns is given as the median of its rounds.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO
from urllib.request import Request, urlopen

import uvloop

from bench import engine
from bench.cloud import (
    IN_FLIGHT,
    LOCATION,
    NOTE,
    QUEUE,
    SERVICE,
    Measured,
    Server,
    bare_server,
    create_requests,
    idle_share,
    in_batches,
    measure,
    queue_server,
    serialized,
)
from bench.http2 import GrpcLoad
from bench.rows import Row, print_rows
from bench.sink import sink
from headrace.cloud.tasks import messages

KINDS = ("unnamed", "named")
FRONTS = {"grpcio": 250, "native": 60} if importlib.util.find_spec("pygrpc_native") else {"grpcio": 250}
"""What speaks gRPC, and its bar: microseconds of server CPU a CreateTask."""
ROUNDS = 3
FLOOD_QUEUES = 40
FLOOD = 20_000
PENDING, PENDING_IN_FULL = 300_000, 1_000_000
CREATES = 6_000
LATENCIES = 300
PENDING_IN_MEMORY = 100_000
IDLE = 100
_DAY = 86_400.0
_WORK = "queue:\n- name: work\n  rate: 500/s\n  bucket_size: 500\n"


def rows(pending: int) -> Iterator[Row]:
    """Measure everything; each row as soon as it is known."""
    with sink() as url:
        yield from _flood(url)
        yield from _creates()
        yield from _latency(url)
        yield from _paces(url)
        yield from _memory()
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            yield from uvloop.run(engine.claims(Path(folder), url, pending))
        yield from _idle()


# All due at once.


def _flood(url: str) -> Iterator[Row]:
    """20,000 tasks over 40 queues, all due at once, until the last completion is durable."""
    queues = [f"{LOCATION}/queues/flood-{number}" for number in range(FLOOD_QUEUES)]
    file = "queue:\n" + "".join(
        f"- name: {queue.rpartition('/')[2]}\n  rate: 500/s\n  bucket_size: 500\n" for queue in queues
    )
    pushed: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
    raws, bound_name = [], ""
    with queue_server(file) as server:
        for _ in range(ROUNDS):
            for kind in KINDS:
                server.call("PauseQueue", _named(messages.PauseQueueRequest, queues))
                server.call("BatchCreateTasks", _due_tasks(queues, url, named=kind == "named"))
                raw, bound_name = uvloop.run(engine.bound(url))
                _forget_arrivals(url)
                raws.append(raw)
                resumes = list(_named(messages.ResumeQueueRequest, queues))
                pushed[kind].append(measure(server, FLOOD, partial(_push_all, server, url, resumes)))
    raw = statistics.median(raws)
    yield Row(f"raw POST/s on the sink ({bound_name})", raw, "1/s", note="the bound of the next rows")
    for kind, rounds in pushed.items():
        rate = _rate(rounds)
        yield Row(f"20,000 due {kind} tasks of 1 KB over 40 queues, durable", rate, "tasks/s")
        yield Row("  as a share of the raw rate", rate / raw, "x", 0.15, at_least=True, note=f"bound: {bound_name}")
        yield Row("  server CPU a push", _cost(rounds), "µs", 80)


def _named(message_class: type, names: Iterable[str]) -> Iterator[bytes]:
    return (message_class(name=name).SerializeToString() for name in names)


def _due_tasks(queues: list[str], url: str, *, named: bool) -> Iterator[bytes]:
    batches = FLOOD // FLOOD_QUEUES // 100
    return chain.from_iterable(
        in_batches(queue, create_requests(queue, named=named, url=url), batches) for queue in queues
    )


def _push_all(server: Server, url: str, resumes: list[bytes]) -> None:
    server.call("ResumeQueue", resumes)
    _await_arrivals(url, FLOOD)
    _await_idle(server)


# Creates.


def _creates() -> Iterator[Row]:
    """CreateTask over each front, beside a server that does nothing with the call, by turns; then batches."""
    floors: list[Measured] = []
    created: dict[tuple[str, str], list[Measured]] = {(front, kind): [] for front in FRONTS for kind in KINDS}
    batched: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
    with bare_server() as bare, ExitStack() as stack:
        servers = {front: stack.enter_context(queue_server(_WORK, front=front)) for front in FRONTS}
        requests = {kind: serialized(create_requests(QUEUE, named=kind == "named")) for kind in KINDS}
        for server in servers.values():
            server.call("PauseQueue", _named(messages.PauseQueueRequest, [QUEUE]))
        for server in (bare, *servers.values()):
            server.create(requests["unnamed"], CREATES // 4)
        for _ in range(ROUNDS):
            floors.append(measure(bare, CREATES, partial(bare.create, requests["unnamed"], CREATES)))
            for (front, kind), rounds in created.items():
                create = partial(servers[front].create, requests[kind], CREATES)
                rounds.append(measure(servers[front], CREATES, create))
        server = servers["grpcio"]
        for kind in KINDS * ROUNDS:
            batches = list(in_batches(QUEUE, create_requests(QUEUE, named=kind == "named"), 100))
            batched[kind].append(measure(server, 10_000, partial(server.call, "BatchCreateTasks", batches)))
    floor = _cost(floors)
    yield Row(
        "bare grpc.aio call, server CPU", floor, "µs", note=f"{IN_FLIGHT} in flight; the bound of the grpcio rows"
    )
    for (front, kind), rounds in created.items():
        cost = _cost(rounds)
        note = f"{NOTE}; {cost / floor:.2f} x a bare grpc.aio call"
        yield Row(f"CreateTask, {front}, {kind}, server CPU", cost, "µs", FRONTS[front], note=note)
        bar = 5000 if front == "native" else None
        note = "client and server share the machine"
        yield Row(f"CreateTask, {front}, {kind}, durable", _rate(rounds), "/s", bar, at_least=True, note=note)
    for kind, rounds in batched.items():
        note = f"100 a call, 4 in flight; {_cost(rounds):.0f} µs server CPU a task"
        yield Row(f"BatchCreateTasks, grpcio, {kind}, durable", _rate(rounds), "/s", 5000, at_least=True, note=note)


# From create to handler.


def _latency(url: str) -> Iterator[Row]:
    """One CreateTask at a time, and between two of them an fsync of the same disk."""
    p50s, p99s, syncs = [], [], []
    with queue_server(_WORK) as server, tempfile.TemporaryFile() as file:
        requests = serialized(create_requests(QUEUE, named=False, url=url))
        with closing(GrpcLoad(server.grpc, SERVICE + "CreateTask", requests)) as load:
            for measured in range(ROUNDS + 1):
                waits, fsyncs = _create_one_by_one(load, file, url)
                if measured:  # the first round warms up
                    p50s.append(statistics.median(waits))
                    p99s.append(_percentile(waits, 0.99))
                    syncs.append(_percentile(fsyncs, 0.99))
    p50, p99, fsync = (statistics.median(each) * 1e3 for each in (p50s, p99s, syncs))
    yield Row("create to handler, p50", p50, "ms", 2.0)
    yield Row("create to handler, p99", p99, "ms", 6.0 + fsync, note=f"bar: 6 ms beyond fsync's p99, {fsync:.2f} ms")


def _create_one_by_one(load: GrpcLoad, file: IO[bytes], url: str) -> tuple[list[float], list[float]]:
    """Seconds from each call to its task's arrival, and of each fsync."""
    _forget_arrivals(url)
    starts: list[float] = []
    fsyncs: list[float] = []
    for _ in range(LATENCIES):
        starts.append(time.monotonic())
        load.run(1, 1)
        # Far enough apart that the completion of one is on disk before the next.
        time.sleep(0.012)
        file.write(b"x" * 8192)
        file.flush()
        began = time.perf_counter()
        os.fsync(file.fileno())
        fsyncs.append(time.perf_counter() - began)
    _await_arrivals(url, LATENCIES)
    arrived = sorted(at for _, at in _take_arrivals(url))
    return [at - start for start, at in zip(starts, arrived, strict=True)], fsyncs


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * len(values))]


# Rates.


def _paces(url: str) -> Iterator[Row]:
    """Queues of a burst of 1, side by side: two fast ones over ten seconds, two slow ones over twenty."""
    paces = {"500/s": 5001, "100/s": 1001, "1.5/s": 31, "0.2/s": 5}
    queues = {rate: f"{LOCATION}/queues/pace-{number}" for number, rate in enumerate(paces)}
    file = "queue:\n" + "".join(
        f"- name: {queue.rpartition('/')[2]}\n  rate: {rate}\n  bucket_size: 1\n" for rate, queue in queues.items()
    )
    _forget_arrivals(url)
    with queue_server(file) as server:
        server.call("PauseQueue", _named(messages.PauseQueueRequest, queues.values()))
        for rate, tasks in paces.items():
            server.call("CreateTask", serialized(_pace_tasks(queues[rate], url, rate, tasks)))
        server.call("ResumeQueue", _named(messages.ResumeQueueRequest, queues.values()))
        _await_arrivals(url, sum(paces.values()))
    arrivals = _take_arrivals(url)
    for rate, tasks in paces.items():
        times = sorted(at for name, at in arrivals if name.startswith(_prefix(rate)))
        per_second = float(rate.removesuffix("/s"))
        if per_second > 20:
            reached = (tasks - 1) / (times[-1] - times[0])
            off = abs(reached / per_second - 1) * 100
            yield Row(f"queue of {rate}, burst 1, over 10 s: off by", off, "%", 0.5, note=f"{reached:.2f}/s")
        else:
            late = [at - number / per_second for number, at in enumerate(times)]
            name = f"queue of {rate}, burst 1, over 20 s: one push off by"
            yield Row(name, (max(late) - min(late)) * 1e3, "ms", 20, note="the worst; its due time is exact")


def _pace_tasks(queue: str, url: str, rate: str, tasks: int) -> Iterator[messages.CreateTaskRequest]:
    for number, request in zip(range(tasks), create_requests(queue, named=False, url=url), strict=False):
        request.task.name = f"{queue}/tasks/{_prefix(rate)}{number}"
        yield request


def _prefix(rate: str) -> str:
    """What the names of a pace's tasks begin with."""
    return f"at-{rate.removesuffix('/s').replace('.', '-')}-of-"


# At rest.


def _memory() -> Iterator[Row]:
    """100,000 tasks that wait for tomorrow, made one a call: of batches, the server keeps the operations too."""
    with queue_server(_WORK) as server:
        tasks = serialized(create_requests(QUEUE, named=False, at=time.time() + _DAY))
        server.create(tasks, IN_FLIGHT)
        idle = server.process.memory_info().rss
        server.create(tasks, PENDING_IN_MEMORY)
        grown = server.process.memory_info().rss - idle
    yield Row(f"{PENDING_IN_MEMORY:,} pending tasks of 1 KB, memory above idle", grown / 2**20, "MB", 40)


def _idle() -> Iterator[Row]:
    """100 queues and 100 jobs with nothing due."""
    queues = "queue:\n" + "".join(f"- name: idle-{number}\n  rate: 500/s\n" for number in range(IDLE))
    cron = "cron:\n" + "".join(f"- url: /v1/cron/idle{number}\n  schedule: every 24 hours\n" for number in range(IDLE))
    with queue_server(queues, cron) as server:
        share = idle_share(server, 10.0)
    yield Row(f"CPU with {IDLE} idle queues and {IDLE} idle jobs", share * 100, "%", 0.5, note="of a core, over 10 s")


# What is asked of server and sink.


def _cost(rounds: list[Measured]) -> float:
    return statistics.median(each.microseconds_each for each in rounds)


def _rate(rounds: list[Measured]) -> float:
    return statistics.median(each.each_second for each in rounds)


def _await_arrivals(url: str, tasks: int) -> None:
    """Wait until so many have arrived. To ask for their number costs the sink little."""
    while int(urlopen(Request(url, method="HEAD")).headers["Content-Length"]) < tasks:
        time.sleep(0.01)


def _take_arrivals(url: str) -> list[tuple[str, float]]:
    """Names of what arrived and when, by the clock of `time.monotonic`; once."""
    with urlopen(url) as answer:
        return [(name, at) for name, at in json.load(answer)]


def _forget_arrivals(url: str) -> None:
    _take_arrivals(url)


def _await_idle(server: Server) -> None:
    """Wait until the last outcome is on disk."""
    asked = Request(f"{server.rest}/headrace/v1:waitUntilIdle", data=b'{"timeoutSeconds": 60}', method="POST")
    with urlopen(asked):
        pass


def _document(measured: list[Row]) -> dict[str, object]:
    machine = {"cores": os.cpu_count(), "architecture": platform.machine(), "python": platform.python_version()}
    return {"machine": machine, "rows": [{**asdict(row), "met": row.met} for row in measured]}


def _kept(measuring: Iterator[Row], measured: list[Row]) -> Iterator[Row]:
    for row in measuring:
        measured.append(row)
        yield row


def main() -> None:
    """Print the rows and write them as JSON; exit status 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description="The queue server against its bars.")
    parser.add_argument("--full", action="store_true", help="claim with 1,000,000 pending tasks, not 300,000")
    parser.add_argument("--json", type=Path, default=Path(".headrace/bench-queues.json"), help="where the rows go too")
    options = parser.parse_args()
    measured: list[Row] = []
    missed = print_rows(_kept(rows(PENDING_IN_FULL if options.full else PENDING), measured))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(_document(measured), indent=2) + "\n")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
