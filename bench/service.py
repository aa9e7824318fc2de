"""The service: no-op batches through the whole stack, the main job, a large split.

`python -m bench.service`. Nothing is let past a queue's limits: the load is spread over four queues of 500/s.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.rows import Row, print_rows
from governance import loop, seed, verify
from governance.schema import open_database
from headrace.local.processes import Parts
from headrace.local.service import ENDED, ServiceClient
from headrace.local.stack import Stack

APPLICATION = Path(__file__).parent / "application"
ROOT = Path(__file__).parent.parent
QUEUES = ("a", "b", "c", "d")
POLL = 0.05
BATCHES = 2_500
# Two processes for two cores: threads of one share an interpreter.
WORKERS = {"WEB_CONCURRENCY": "2", "HEADRACE_STRICT": "false"}
SPLIT_IDS = 1_000_000
USERS = 100_000


@dataclass(frozen=True, slots=True)
class Running:
    """A stack that runs: its service, and the processes behind it."""

    client: ServiceClient
    service: psutil.Process
    queue_server: psutil.Process

    def cpu(self) -> tuple[float, float]:
        """CPU seconds so far of the service's processes, and of the queue server."""
        workers = [self.service, *self.service.children(recursive=True)]
        return sum(_seconds(each) for each in workers), _seconds(self.queue_server)

    def wait(self, run_ids: list[str]) -> list[dict[str, object]]:
        """The runs, when all have ended."""
        return [self._wait_for(run_id) for run_id in run_ids]

    def _wait_for(self, run_id: str) -> dict[str, object]:
        while (run := self.client.show_run(run_id))["state"] not in ENDED:
            time.sleep(POLL)
        return run


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def running(stack: Stack) -> Iterator[Running]:
    """The stack, stopped when the block ends."""
    stack.data.mkdir(parents=True, exist_ok=True)
    with Parts(stack.data) as parts:
        address = stack.start(parts)
        queue_server, service = (psutil.Process(part.process.pid) for part in parts.running())
        yield Running(ServiceClient(address), service, queue_server)


def rows(*, users: int = USERS) -> Iterator[Row]:
    """Every row of this module."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        yield from noop_rows(Path(folder) / "noop")
        yield from split_rows(Path(folder) / "split")
        yield from main_job_rows(Path(folder) / "job", users)


def noop_rows(folder: Path) -> Iterator[Row]:
    """Batches that do nothing, pushed and durably completed."""
    variables = {"HEADRACE_BENCH_ITEMS": str(BATCHES), **WORKERS}
    with running(Stack(APPLICATION, folder, variables=variables)) as stack:
        started, cpu = time.perf_counter(), stack.cpu()
        with ThreadPoolExecutor(len(QUEUES)) as callers:
            answers = list(callers.map(lambda queue: stack.client.call_cron(f"/v1/cron/{queue}"), QUEUES))
        runs = stack.wait([answer["run_id"] for answer in answers])
        seconds = time.perf_counter() - started
        service, queue_server = (after - before for before, after in zip(cpu, stack.cpu(), strict=True))
    assert all(run["state"] == "completed" for run in runs), runs
    count = BATCHES * len(QUEUES)
    note = f"{count:,} over {len(QUEUES)} queues of 500/s, split and push included"
    yield Row("no-op batches, pushed and durably completed", count / seconds, "/s", 1_200, at_least=True, note=note)
    yield Row("… CPU of the service a batch", service / count * 1e6, "µs", note="HTTP, guard, validation, runs, push")
    yield Row("… CPU of the queue server a batch", queue_server / count * 1e6, "µs")


def split_rows(folder: Path) -> Iterator[Row]:
    """A split of a million ids: memory above start, and when the first batch was on its queue."""
    variables = {"HEADRACE_BENCH_ITEMS": str(SPLIT_IDS), "HEADRACE_STRICT": "false"}
    with running(Stack(APPLICATION, folder, "paused", variables=variables)) as stack:
        stack.client.call_cron("/v1/cron/headrace/relay")
        (worker,) = stack.service.children()
        before, peak, first = worker.memory_info().rss, 0, 0.0
        started = time.perf_counter()
        with ThreadPoolExecutor(1) as caller:
            call = caller.submit(stack.client.call_cron, "/v1/cron/large")
            while not call.done():
                peak = max(peak, worker.memory_info().rss)
                runs = stack.client.list_runs(limit=1) if not first else []
                if runs and runs[0]["tasks"]["total"]:
                    shown = stack.client.show_run(runs[0]["run_id"])
                    first = time.perf_counter() - started if shown["tasks"]["pushed"] else 0.0
                time.sleep(0.02)
            seconds = time.perf_counter() - started
        tasks = call.result()["tasks"]
    assert tasks == SPLIT_IDS // 50, tasks
    yield Row("split of 1,000,000 ids, memory above start", (peak - before) / 1e6, "MB", 150)
    yield Row("… first batch pushed after", first, "s", 1)
    yield Row("… ids split and pushed", SPLIT_IDS / seconds, "/s", note=f"{tasks:,} tasks in {seconds:.1f} s")


def main_job_rows(folder: Path, users: int) -> Iterator[Row]:
    """The main job beside the same rules and SQL in a plain loop, one after the other on the same data."""
    folder.mkdir(parents=True)
    at = seed.start_of_day(time.time())
    with open_database(f"sqlite:///{folder / 'loop.db'}") as database:
        seed.fill(database, users, seed=1, at=at)
        started = time.perf_counter()
        loop.synchronize_all(database, time.time())
        plain = users / (time.perf_counter() - started)
    url = f"sqlite:///{folder / 'application.db'}"
    with open_database(url) as database:
        seed.fill(database, users, seed=1, at=at)
        with database.write() as connection:
            verify.remember(connection)
        variables = {"HEADRACE_DATABASE_URL": url, **WORKERS}
        with running(Stack(ROOT, folder, "demo", variables=variables)) as stack:
            started = time.perf_counter()
            run_id = stack.client.call_cron("/v1/cron/synchronizeUserAccess")["run_id"]
            stack.wait([run_id])
            seconds = time.perf_counter() - started
        with database.read() as connection:
            assert verify.check_access(connection, time.time()).ok
    note = f"{users:,} users: {users / seconds:,.0f}/s against {plain:,.0f}/s; {users / 50 / seconds:.0f} tasks/s"
    yield Row("main job, share of the plain loop's users a second", users / seconds / plain, "", 0.5, True, note)


if __name__ == "__main__":
    print_rows(rows(users=int(sys.argv[1]) if len(sys.argv) > 1 else USERS))
