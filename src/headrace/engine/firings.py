"""How far a job has come, and what comes next. Pure, but for the form in which the store keeps it.

A firing is outstanding from its scheduled time until a 2xx answer or until it is given up, and that is on disk
before its first request goes out. So a firing that a crash cut off is sent again with the same scheduled time,
and is told apart from one that fell due while the server was down: that one is not replayed, as Cloud Scheduler
does not either.

A scheduled firing never starts while another one is outstanding. A late start is delayed, not skipped. Only when
it is later than a whole further period are the times it ran over dropped, or a laptop that wakes up would fire a
night's worth at once.
"""

from dataclasses import dataclass, replace
from typing import Any

import orjson

from headrace.engine.jobs import DEFAULT_RETRY, Job, JobState, Outcome
from headrace.engine.model import AppEngineTarget
from headrace.retries import backoff, may_retry

# A job may ask for no backoff at all; without this a target that fails at once would be called without a pause.
_SHORTEST_WAIT = 0.1


@dataclass(frozen=True, slots=True)
class Firing:
    """A firing that is outstanding; `number` tells it from others of its job.

    Its next request is due at `attempt_at`. Of the `attempts` that failed, `failures` count.
    """

    number: int
    scheduled_at: float
    started_at: float
    attempt_at: float
    attempts: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come under its `timing`. `next_at` is the next scheduled time that has not begun.

    `attempted_at` is when the last request began, `outcome` what came of the last one that ended.
    """

    timing: str
    next_at: float
    firings: tuple[Firing, ...] = ()
    attempted_at: float | None = None
    outcome: Outcome | None = None

    def next_request(self, now: float) -> float:
        """When the next request after `now` goes out, first or repeated, if nothing happens before."""
        return min((firing.attempt_at for firing in self.firings if firing.attempt_at > now), default=self.next_at)


def resume(job: Job, kept: Progress | None, now: float) -> Progress:
    """Where a job goes on at `now`: when the server starts, when it was paused, when its schedule was changed."""
    if kept is None:
        return Progress(job.timing, job.next_after(now))
    if kept.timing == job.timing and kept.next_at > now:
        return kept
    return replace(kept, timing=job.timing, next_at=job.next_after(now))


def begin(job: Job, progress: Progress, now: float) -> Progress:
    """The firing of `next_at` begins."""
    after = job.next_after(progress.next_at)
    next_at = after if after > now else job.next_after(now)
    return replace(_with_firing(progress, progress.next_at, now), next_at=next_at)


def force(progress: Progress, now: float) -> Progress:
    """A firing begins that no schedule asked for; its scheduled time is now."""
    return _with_firing(progress, now, now)


def _with_firing(progress: Progress, scheduled_at: float, now: float) -> Progress:
    number = 1 + max((firing.number for firing in progress.firings), default=0)
    return replace(progress, firings=(*progress.firings, Firing(number, scheduled_at, now, attempt_at=now)))


def conclude(job: Job, progress: Progress, number: int, outcome: Outcome, now: float) -> Progress:
    """A request of the firing with this number ended at `now`; the firing ends too, or waits for its next one."""
    firings = []
    for firing in progress.firings:
        left = firing if firing.number != number else _after(job, firing, outcome, now, progress.next_at)
        if left is not None:
            firings.append(left)
    return replace(progress, firings=tuple(firings), outcome=outcome)


def _after(job: Job, firing: Firing, outcome: Outcome, now: float, until: float) -> Firing | None:
    """The firing as it waits, or None when it has ended. Retries stop at `until`, the next scheduled time.

    A 503 of App Engine is the system's fault, not the application's: retried whatever the limits say, and not
    counted (Cloud Scheduler v1, AppEngineHttpTarget).
    """
    if outcome.succeeded or job.state is not JobState.ENABLED:
        return None
    counts = not (isinstance(job.target, AppEngineTarget) and outcome.status == 503)
    attempts, failures = firing.attempts + 1, firing.failures + counts
    if counts and not may_retry(job.retry, failures, now - firing.started_at):
        return None
    again_at = now + max(_SHORTEST_WAIT, backoff(job.retry if counts else DEFAULT_RETRY, attempts))
    if again_at >= until:
        return None
    return replace(firing, attempt_at=again_at, attempts=attempts, failures=failures)


def encode_progress(progress: Progress) -> bytes:
    """JSON, for the store."""
    return orjson.dumps(progress)


def decode_progress(document: bytes) -> Progress:
    """What `encode_progress` wrote."""
    kept: dict[str, Any] = orjson.loads(document)
    outcome = kept.pop("outcome")
    firings = tuple(Firing(**firing) for firing in kept.pop("firings"))
    return Progress(**kept, firings=firings, outcome=None if outcome is None else Outcome(**outcome))
