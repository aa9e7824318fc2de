"""Attempts whose process dies, or whose handler never ends: their batches go on, and so does the service."""

import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from headrace.database import attempt_rows
from headrace.database.attempt_rows import AttemptRow
from headrace.database.states import BatchState, Cause, Outcome
from headrace.database.tables import batches
from headrace.local.service import ServiceError
from tests.e2e.site import Site, copy_for_faults, kill, run_site, wait_until

RETRIED = "{min_backoff_seconds: 0.1, max_backoff_seconds: 0.5}"
NOT_RETRIED = "{task_retry_limit: 0}"
BATCH_SIZE = 10

_HANDLER = """
import os
import signal
import time
from pathlib import Path

from governance.synchronization import synchronize
from headrace import Batch
from headrace.errors import Retry

MARK = Path(__file__).with_name("mark")


def synchronize_user_access(batch: Batch) -> None:
    misbehave(batch)
    with batch.transaction(completes=True) as connection:
        synchronize(connection, batch.items, at=batch.now)


def misbehave(batch: Batch) -> None:
{}
"""
_HANGS = """
    if 1 in batch.items and batch.attempt == 1:
        MARK.touch()
        time.sleep(600)
"""
_KILLS = """
    if 1 in batch.items:
        os.kill(os.getpid(), signal.SIGKILL)
"""
_NEVER_ENDS = """
    if 1 in batch.items and batch.attempt == 1:
        {}
    if 11 in batch.items and batch.attempt == 1:
        raise Retry("begin when the other one is about to be stuck", after=4)
    if 11 in batch.items and not MARK.exists():
        MARK.touch()
        time.sleep(600)
"""
_SPINS = "while True: pass"
_SLEEPS_IN_C = "time.sleep(600)"


def application_that(tmp_path: Path, misbehaves: str, *, retry: str, time_limit: str = "1s") -> Path:
    """The reference application with a handler that does this before its work."""
    application = copy_for_faults(tmp_path / "application", batch_size=BATCH_SIZE, retry=retry)
    (application / "handlers" / "access.py").write_text(_HANDLER.format(misbehaves))
    contract = application / "openapi.yaml"
    contract.write_text(contract.read_text().replace("time-limit: 1s", f"time-limit: {time_limit}"))
    return application


def attempts_of(site: Site, batch_number: int) -> list[AttemptRow]:
    batch = select(batches.c.id).where(batches.c.number == batch_number)
    with site.database.read() as connection:
        return attempt_rows.attempts_of(connection, connection.execute(batch).scalar_one())


def outcomes_of(site: Site, batch_number: int) -> list[Outcome]:
    return [attempt.outcome for attempt in attempts_of(site, batch_number)]


def test_a_batch_whose_worker_was_killed_is_pushed_again_by_the_first_sweep_behind_its_lease(
    tmp_path: Path, database_url: str
) -> None:
    """The queue has no try left, so nothing but the sweep mends this."""
    application = application_that(tmp_path, _HANGS, retry=NOT_RETRIED, time_limit="3s")
    held = (batches.c.state == BatchState.RUNNING, batches.c.attempt == 1)
    two_workers = {"WEB_CONCURRENCY": "2"}
    with run_site(application, users=100, database_url=database_url, variables=two_workers) as site:
        site.call_job()
        wait_until("The hanging attempt", lambda: site.count(batches.c.number == 1, *held) == 1)
        for worker in site.workers():
            kill(worker)
        last_lease = select(func.max(batches.c.lease_until))
        lease_until = site.ask(lambda connection: connection.execute(last_lease).scalar_one())
        wait_until("The end of the lease", lambda: time.time() * 1000 > lease_until)
        assert site.count(*held) >= 1
        site.service.call_cron("/v1/cron/headrace/reap")
        assert site.count(*held) == 0
        assert site.count(batches.c.number == 1, batches.c.generation == 2) == 1
        assert site.end()["state"] == "completed"
        assert outcomes_of(site, 1) == [Outcome.LOST]
        assert site.verdict().faults == ()


def test_a_task_that_kills_its_worker_three_times_is_dead_and_the_others_are_done(
    tmp_path: Path, database_url: str
) -> None:
    application = application_that(tmp_path, _KILLS, retry=RETRIED)
    with run_site(application, users=100, database_url=database_url) as site:
        site.call_job()

        def has_been_lost(times: int) -> bool:
            # A worker that dies with a sweep in it leaves that to the next one.
            with suppress(ServiceError):
                site.sweep()
            return len(outcomes_of(site, 1)) >= times

        wait_until("The batches of the job", lambda: site.count() == 10)
        wait_until("The second loss", lambda: has_been_lost(2), every=0.25)
        wait_until("The third loss", lambda: has_been_lost(3), every=0.25)
        wait_until("The end of the others", lambda: site.done() == 9)
        assert outcomes_of(site, 1) == [Outcome.LOST] * 3
        assert site.count(batches.c.number == 1, batches.c.state == BatchState.DEAD, batches.c.cause == Cause.POISON)
        assert site.end()["state"] == "failed"


def test_an_endless_attempt_is_timed_out_within_a_second_of_its_limit_and_its_batch_is_free(tmp_path: Path) -> None:
    application = application_that(tmp_path, _HANGS, retry=RETRIED, time_limit="2s")
    with run_site(application, users=100) as site:
        site.call_job()
        wait_until("The batches of the job", lambda: site.count() == 10)
        run = site.end(sweep=False)
        (attempt,) = attempts_of(site, 1)
        assert attempt.outcome is Outcome.TIMED_OUT
        assert 2.0 <= (attempt.ended_at - attempt.started_at) / 1000 <= 3.0
        assert (run["state"], run["tasks"]["done"], run["retries"]) == ("completed", 10, 1)
        assert site.verdict().faults == ()


@pytest.mark.parametrize("never_ends", [_SPINS, _SLEEPS_IN_C])
def test_a_handler_that_never_ends_is_timed_out_reported_and_its_worker_replaced(
    tmp_path: Path, never_ends: str
) -> None:
    """Its batch is done by the next attempt; one beside it that had no time left to end is delivered again."""
    application = application_that(tmp_path, _NEVER_ENDS.format(never_ends), retry=RETRIED, time_limit="5s")
    quickly = {"HEADRACE_OVERDUE_GRACE": "0.5", "GUNICORN_CMD_ARGS": "--graceful-timeout 2"}
    with run_site(application, users=100, variables=quickly) as site:
        (first_worker,) = site.workers()
        site.call_job()
        wait_until("The batches of the job", lambda: site.count() == 10)
        wait_until("The time-out", lambda: outcomes_of(site, 1) == [Outcome.TIMED_OUT])
        (attempt,) = attempts_of(site, 1)
        assert 5.0 <= (attempt.ended_at - attempt.started_at) / 1000 <= 6.0
        wait_until("The next worker", lambda: [each.pid for each in site.workers()] not in ([], [first_worker.pid]))
        assert not psutil.pid_exists(first_worker.pid)
        assert site.end()["state"] == "completed"
        stuck = [line for line in site.log("service").splitlines() if "attempt is stuck" in line]
        assert len(stuck) == 1
        assert f"run_id={site.run_id()}" in stuck[0]
        assert "batch=1" in stuck[0]
        assert outcomes_of(site, 1) == [Outcome.TIMED_OUT]
        assert outcomes_of(site, 2) == [Outcome.FAILED, Outcome.RELEASED]
        assert site.verdict().faults == ()
