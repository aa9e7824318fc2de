"""The main job from end to end, on this machine: what `make demo` runs.

Fills a new database, starts the queue server and the service, calls the cron endpoint of synchronizeUserAccess,
follows the run and lets the independent SQL check judge what it left. Whatever was started is stopped in the end.
"""

import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from governance import seed, verify
from governance.schema import open_database
from headrace.config import load_queue_file
from headrace.errors import HeadraceError, StartError
from headrace.local.processes import Parts
from headrace.local.service import ENDED, ServiceClient, ServiceError
from headrace.local.stack import Stack

APP = Path(__file__).resolve().parent.parent
JOB = "/v1/cron/synchronizeUserAccess"
SWEEPS = ("relay", "reap", "reconcile", "resume")
OPERATION = "api.access.synchronize_user_access"
QUEUE = "synchronizeAccessQueue"
ENVIRONMENT = "demo"
POLL = 0.25
LINE_EVERY = 2.0
SILENCE = 60.0
"""Seconds without an answer after which the service counts as lost; a worker that died is back long before."""


class DemoFailed(HeadraceError):
    """The run ended otherwise than completed, left users out, or left some of them wrong."""


@dataclass(frozen=True, slots=True)
class Demo:
    """How many users, where everything is kept, how often (seconds) to sweep besides the schedules of cron.yaml."""

    users: int
    seed: int
    data: Path
    sweep_every: float | None
    console: Console

    def run(self) -> None:
        """Do it all. DemoFailed when something came out wrong; another HeadraceError when a part does not play."""
        url = f"sqlite:///{self.data / 'application.db'}"
        stack = Stack(APP, self.data, ENVIRONMENT, variables={"HEADRACE_DATABASE_URL": url, "HEADRACE_STRICT": "false"})
        with open_database(url) as database, Parts(self.data) as parts:
            self._say(f"filling a database with {self.users:,} users")
            seed.fill(database, self.users, seed=self.seed, at=seed.start_of_day(time.time()))
            with database.write() as connection:
                verify.remember(connection)
            self._say("starting the queue server and the service")
            service = ServiceClient(stack.start(parts))
            self._say(f"GET {JOB}")
            started = time.monotonic()
            run = self._follow(service, parts, _StartedJob(service))
            seconds = time.monotonic() - started
            self._say("checking every user with SQL")
            with database.read() as connection:
                verdict = verify.check_access(connection, time.time())
                changes = verify.count_changes(connection)
        self._report(run, changes, verdict, seconds)
        result = (
            f"run={run['run_id']} users={run['items']} tasks={run['tasks']['total']}"
            f" attempts={run['attempts']} seconds={seconds:.1f}"
        )
        if not (verdict.ok and run["state"] == "completed" and run["items"] == self.users):
            raise DemoFailed(result)
        # Not through the console: this line is for programs, and must not be wrapped.
        print(f"demo: OK {result}")

    def _say(self, text: str) -> None:
        self.console.print(f"· {text}")

    def _follow(self, service: ServiceClient, parts: Parts, job: "_StartedJob") -> dict[str, Any]:
        """Show the run until it ended. StartError when a part ends, or the service says nothing any more."""
        heard = swept = time.monotonic()
        with _progress(self.console) as show:
            while True:
                parts.check()
                now = time.monotonic()
                try:
                    if self.sweep_every is not None and now - swept >= self.sweep_every:
                        swept = now
                        for name in SWEEPS:
                            service.call_cron(f"/v1/cron/headrace/{name}")
                    if (run_id := job.run_id()) is not None:
                        run = service.show_run(run_id)
                        heard = now
                        show(run)
                        if run["state"] in ENDED:
                            return run
                except ServiceError as error:
                    if 400 <= error.answered < 500 or now - heard > SILENCE:
                        raise
                time.sleep(POLL)

    def _report(
        self, run: Mapping[str, Any], changes: Mapping[str, int], verdict: verify.Verdict, seconds: float
    ) -> None:
        limits = next(each for each in load_queue_file(APP / "queue.yaml", ENVIRONMENT).queues if each.name == QUEUE)
        tasks = run["tasks"]["total"]
        rows = {
            "run": f"{run['run_id']}: {run['state']} {run.get('reason', '')}",
            "users checked": f"{run['items']:,}",
            "tiers taken": f"{changes.get('take_tier', 0):,}",
            "tiers given": f"{changes.get('give_tier', 0):,}",
            "tasks": f"{tasks:,}",
            "attempts": f"{run['attempts']:,}",
            "retries": f"{run['retries']:,}",
            "seconds": f"{seconds:.1f}",
            "tasks a second": f"{tasks / seconds:.0f}",
            QUEUE: f"{limits.rate_per_second:g}/s, bucket {limits.bucket_size}, "
            f"{limits.max_concurrent_requests} at once",
            "check with SQL": "OK" if verdict.ok else f"{verdict.wrong_users:,} users are wrong",
        }
        table = Table(show_header=False)
        for name, value in rows.items():
            table.add_row(name, value.strip())
        self.console.print(table)
        for fault in verdict.faults:
            self.console.print(f"  {fault}")


class _StartedJob:
    """The call of the cron endpoint, on its way: its answer comes when the split is done, its run before that."""

    def __init__(self, service: ServiceClient) -> None:
        self._service = service
        self._error: ServiceError | None = None
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def run_id(self) -> str | None:
        """The run that was started, once there is one. ServiceError when the call failed and there is none."""
        runs = self._service.list_runs(limit=1, job=OPERATION)
        if runs:
            found: str = runs[0]["run_id"]
            return found
        if self._error is not None:
            raise self._error
        return None

    def _call(self) -> None:
        try:
            self._service.call_cron(JOB)
        except ServiceError as error:
            self._error = error


@contextmanager
def _progress(console: Console) -> Iterator["Show"]:
    """A function that shows a run: as a bar on a terminal, else as a line now and then."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("tasks"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        yield _Bar(progress, progress.add_task("starting", total=None))


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = 0.0

    def __call__(self, run: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY or run["state"] in ENDED:
            self._last = now
            tasks = run["tasks"]
            self._console.print(f"  {run['state']}: {tasks['done']} of {tasks['total']} tasks done")


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def __call__(self, run: Mapping[str, Any]) -> None:
        tasks = run["tasks"]
        self._progress.update(
            self._task, description=run["state"], completed=tasks["done"], total=tasks["total"] or None
        )


Show = _Lines | _Bar


@contextmanager
def _data_folder(chosen: Path | None, *, keep: bool) -> Iterator[Path]:
    """A new folder, gone in the end; kept when asked for, or when something went wrong."""
    if chosen is not None and chosen.exists() and any(chosen.iterdir()):
        raise StartError(f"{chosen} is not empty.", hint="Choose a new folder with --data.")
    folder = chosen or Path(tempfile.mkdtemp(prefix="headrace-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder.resolve()
    except HeadraceError:
        click.echo(f"demo: logs and data are kept in {folder}", err=True)
        raise
    except BaseException:
        if not keep:
            shutil.rmtree(folder)
        raise
    if not keep:
        shutil.rmtree(folder)


@click.command()
@click.option("--users", type=click.IntRange(min=0), default=10_000, show_default=True)
@click.option("--seed", "seed_number", type=int, default=1, show_default=True, help="Same number, same users.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Data folder; new or empty.")
@click.option("--keep", is_flag=True, help="Keep the data folder.")
@click.option("--sweep-every", type=click.FloatRange(min=0.1), help="Call the sweeps so often, in seconds.")
def main(users: int, seed_number: int, data: Path | None, keep: bool, sweep_every: float | None) -> None:
    """Run the main job from end to end on this machine, and check every user with SQL."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _data_folder(data, keep=keep) as folder:
            Demo(users, seed_number, folder, sweep_every, Console(highlight=False, markup=False)).run()
    except HeadraceError as error:
        click.echo(f"demo: FAILED {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("demo: stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
