"""Failed attempts on a real queue: how often they are tried again, and when."""

from itertools import pairwise
from pathlib import Path

from headrace.database.states import BatchState, Cause, Outcome
from headrace.database.tables import batches
from tests.e2e.site import run_site, wait_until
from tests.e2e.test_zombies import application_that, attempts_of

FIVE_RETRIES = "{task_retry_limit: 5, min_backoff_seconds: 0.2, max_backoff_seconds: 1.5, max_doublings: 3}"
DELAYS = [0.2, 0.4, 0.8, 1.5, 1.5]
TRAVEL = 1.0
"""Seconds between a task's time and the begin of its attempt, at most, on a busy machine."""
_FAILS = """
    if 1 in batch.items:
        raise LookupError(f"try {batch.attempt}")
"""


def test_a_batch_that_fails_is_tried_five_times_more_at_the_queues_backoff_and_then_it_is_dead(
    tmp_path: Path, database_url: str
) -> None:
    """Nobody sweeps: the last failure itself ends the batch, and with it the run."""
    application = application_that(tmp_path, _FAILS, retry=FIVE_RETRIES)
    with run_site(application, users=100, database_url=database_url) as site:
        site.call_job()
        wait_until("The batches of the job", lambda: site.count() == 10)
        run = site.end(sweep=False)
        attempts = attempts_of(site, 1)
        assert [(each.outcome, each.error) for each in attempts] == [
            (Outcome.FAILED, f"LookupError: try {number}") for number in range(1, 7)
        ]
        assert all("in misbehave" in each.trace for each in attempts)
        waits = [(after.started_at - before.ended_at) / 1000 for before, after in pairwise(attempts)]
        for wait, delay in zip(waits, DELAYS, strict=True):
            assert delay <= wait <= delay + TRAVEL, waits
        assert (run["state"], run["tasks"]["dead"]) == ("failed", 1)
        assert site.count(batches.c.state == BatchState.DEAD, batches.c.cause == Cause.EXHAUSTED) == 1
