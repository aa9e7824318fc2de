"""The engine against its bars: `python -m bench.engine [--pending N]` prints a row for each.

Wall times move from run to run, so rates are held against a bound of the same run: wrk's POST/s on the same sink
where wrk is installed, else the raw rate of the engine's own client. CPU is that of this process, all threads.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
import uvloop

from bench.rows import Row, print_rows
from bench.sink import sink
from headrace.clock import SystemClock
from headrace.engine.address import parse_address
from headrace.engine.connection import Answer
from headrace.engine.engine import Engine
from headrace.engine.errors import PushFailed
from headrace.engine.http import Client, encode_request_line
from headrace.engine.model import (
    Authorization,
    EngineSettings,
    HttpTarget,
    NewTask,
    Queue,
    QueueState,
    RateLimits,
)  # fmt: skip
from headrace.engine.store.sqlite import SqliteStore
from headrace.retries import RetryLimits

BODY = b"x" * 1024
_DAY = 86_400.0
_CLAIMS = 5000
_CLAIM_ROUNDS = 3


class _NoTokens:
    def token(self, authorization: Authorization) -> str:
        raise NotImplementedError(authorization)


@asynccontextmanager
async def _engine(folder: Path) -> AsyncIterator[Engine]:
    engine = Engine(SqliteStore(folder), SystemClock(), _NoTokens(), EngineSettings())
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


def _queue(name: str, rate: RateLimits, state: QueueState = QueueState.RUNNING) -> Queue:
    retry = RetryLimits(100, 0.0, 0.1, 3600.0, 16)
    return Queue(f"projects/p/locations/l/queues/{name}", rate, retry, state, None, 3600.0, 31 * _DAY)


def _tasks(url: str, count: int, at: float | None = None) -> list[NewTask]:
    target = HttpTarget(url, "POST", (("Content-Type", "application/json"),), BODY, None)
    return [NewTask(None, target, at, 600.0)] * count


async def _fill(engine: Engine, queue: Queue, tasks: Sequence[NewTask]) -> None:
    for start in range(0, len(tasks), 1000):
        await engine.create_tasks(queue.name, tasks[start : start + 1000])


async def _until_pending(engine: Engine, queues: Sequence[Queue], left: int) -> None:
    while sum(stats.pending for queue in queues if (stats := engine.queue_stats(queue.name))) > left:
        await asyncio.sleep(0.002)


async def bound(url: str) -> tuple[float, str]:
    """POST/s on the sink: wrk's, or our own client's."""
    wrk = shutil.which("wrk")
    if wrk is not None:
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(f'wrk.method = "POST"\nwrk.body = string.rep("x", {len(BODY)})\n')
            script.flush()
            command = [wrk, "-t1", "-c32", "-d3s", "-s", script.name, url]
            report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(report.split("Requests/sec:")[1].split()[0]), "wrk"
    return await _client_rate(url, 20_000), "our client"


async def _client_rate(url: str, count: int) -> float:
    client = Client()
    address = parse_address(url)
    payload = encode_request_line("POST", address) + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    left = count
    finished = asyncio.Event()

    def ended(_: Answer | PushFailed) -> None:
        nonlocal left
        left -= 1
        if not left:
            finished.set()

    started = time.perf_counter()
    for _ in range(count):
        client.send(address.origin, payload, False, 60.0, ended)
    await finished.wait()
    elapsed = time.perf_counter() - started
    await client.close()
    return count / elapsed


async def _flood(folder: Path, url: str) -> list[Row]:
    """20,000 tasks over 40 queues, all due at once, until the last completion is durable."""
    queues = [_queue(f"flood-{number}", RateLimits(500.0, 500, 1000)) for number in range(40)]
    async with _engine(folder) as engine:
        cpu = time.process_time()
        for queue in queues:
            await engine.put_queue(queue)
            await engine.set_queue_state(queue.name, QueueState.PAUSED)
            await _fill(engine, queue, _tasks(url, 500))
        create_cpu = (time.process_time() - cpu) / 20_000
        raw, bound_name = await bound(url)
        cpu = time.process_time()
        started = time.perf_counter()
        await asyncio.gather(*(engine.set_queue_state(queue.name, QueueState.RUNNING) for queue in queues))
        await _until_pending(engine, queues, 0)
        rate = 20_000 / (time.perf_counter() - started)
        cpu = (time.process_time() - cpu) / 20_000
    return [
        Row(f"raw POST/s on the sink ({bound_name})", raw, "1/s"),
        Row("20,000 due tasks over 40 queues", rate, "tasks/s"),
        Row("  as a share of the raw rate", rate / raw, "x", 0.15, at_least=True, note=f"bound: {bound_name}"),
        Row("  CPU a push", cpu * 1e6, "us", 80.0),
        Row("  CPU a create, 1,000 a call", create_cpu * 1e6, "us"),
    ]


async def _latency(folder: Path, url: str) -> list[Row]:
    """Create to handler, one task at a time, against the fsync of the same disk in the same run."""
    queue = _queue("latency", RateLimits(500.0, 500, 1000))
    async with _engine(folder) as engine:
        await engine.put_queue(queue)
        starts: dict[str, float] = {}
        for _ in range(600):
            started = time.monotonic()
            (task,) = await engine.create_tasks(queue.name, _tasks(url, 1))
            starts[getattr(task, "name", "")] = started
            await _until_pending(engine, [queue], 0)
    arrived = dict(json.load(urlopen(url)))
    waits = sorted(arrived[name] - started for name, started in starts.items())
    p50, p99 = statistics.median(waits), waits[int(0.99 * len(waits))]
    fsync = _fsync_p99(folder)
    return [
        Row("create to handler, p50", p50 * 1e3, "ms", 2.0),
        Row("create to handler, p99", p99 * 1e3, "ms", 6.0 + fsync * 1e3, note=f"fsync p99 {fsync * 1e3:.2f} ms"),
    ]


def _fsync_p99(folder: Path) -> float:
    waits = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(300):
            file.write(b"x" * 8192)
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            waits.append(time.perf_counter() - started)
    return sorted(waits)[int(0.99 * len(waits))]


async def _pace(folder: Path, url: str) -> list[Row]:
    """A queue of 100/s, burst 1, for ten seconds."""
    queue = _queue("pace", RateLimits(100.0, 1, 1000))
    async with _engine(folder) as engine:
        await engine.put_queue(queue)
        await _fill(engine, queue, _tasks(url, 1001))
        await _until_pending(engine, [queue], 0)
    times = sorted(arrived for _, arrived in json.load(urlopen(url)))
    rate = (len(times) - 1) / (times[-1] - times[0])
    return [Row("queue of 100/s, burst 1: off by", abs(rate - 100.0), "1/s", 0.5, note=f"{rate:.2f}/s")]


async def _memory(folder: Path, url: str) -> list[Row]:
    """100,000 tasks that wait for tomorrow."""
    queue = _queue("memory", RateLimits(500.0, 500, 1000))
    process = psutil.Process()
    async with _engine(folder) as engine:
        await engine.put_queue(queue)
        idle = process.memory_info().rss
        for _ in range(100):
            await engine.create_tasks(queue.name, _tasks(url, 1000, time.time() + _DAY))
        grown = process.memory_info().rss - idle
    return [Row("100,000 pending tasks of 1 KB, memory above idle", grown / 2**20, "MB", 40.0)]


async def claims(folder: Path, url: str, pending: int) -> list[Row]:
    """CPU a push from queues with nothing behind the pushed tasks, and from those that share `pending`, by turns."""
    costs: dict[int, list[float]] = {0: [], pending // _CLAIM_ROUNDS: []}
    async with _engine(folder) as engine:
        queues = [(behind, f"claims-{behind}-{number}") for number in range(_CLAIM_ROUNDS) for behind in costs]
        for behind, name in queues:
            await engine.put_queue(queue := _queue(name, RateLimits(0.001, _CLAIMS, 1000), QueueState.PAUSED))
            await _fill(engine, queue, _tasks(url, _CLAIMS + behind))
        for behind, name in queues:
            queue = _queue(name, RateLimits(0.001, _CLAIMS, 1000))
            cpu = time.process_time()
            await engine.set_queue_state(queue.name, QueueState.RUNNING)
            await _until_pending(engine, [queue], behind)
            costs[behind].append((time.process_time() - cpu) / _CLAIMS)
    empty, full = (statistics.median(each) for each in costs.values())
    return [
        Row("CPU a push, empty queue", empty * 1e6, "us"),
        Row(f"CPU a push, {pending:,} pending, against empty", full / empty, "x", 1.5, note=f"{full * 1e6:.1f} us"),
    ]


async def _idle(folder: Path, _url: str) -> list[Row]:
    """100 queues with nothing due."""
    async with _engine(folder) as engine:
        for number in range(100):
            await engine.put_queue(_queue(f"idle-{number}", RateLimits(500.0, 500, 1000)))
        await asyncio.sleep(0.5)
        cpu, started = time.process_time(), time.perf_counter()
        await asyncio.sleep(5.0)
        share = (time.process_time() - cpu) / (time.perf_counter() - started)
    return [Row("CPU with 100 idle queues", share * 100, "%", 0.5)]


async def rows(pending: int = 300_000) -> list[Row]:
    """Measure everything; about a minute."""
    measured: list[Row] = []
    with sink() as url:
        for measure in (_idle, _memory, _latency, _pace, _flood):
            with tempfile.TemporaryDirectory() as folder:
                measured += await measure(Path(folder), url)
        with tempfile.TemporaryDirectory() as folder:
            measured += await claims(Path(folder), url, pending)
    return measured


def main() -> None:
    """Print the rows; a row that misses its bar is marked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pending", type=int, default=300_000, help="tasks that wait in the claim row")
    print_rows(uvloop.run(rows(parser.parse_args().pending)))


if __name__ == "__main__":
    main()
