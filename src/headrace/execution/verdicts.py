"""What becomes of a batch after an attempt. Pure: from how the attempt ended, its lease, and its queue's limits."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from headrace.contract.operations import OnTimeout, TaskOptions
from headrace.database.lease_rows import Lease
from headrace.database.states import BatchState, Cause, Outcome
from headrace.errors import Cancel, PermanentFailure, Retry, Snooze
from headrace.retries import RetryLimits, backoff, may_retry

ERROR_KEPT = 2_000
TRACE_KEPT = 8_000
POISON_AFTER = 3
"""So many attempts of a batch may die before it counts as what kills them."""
_JITTER = 0.1
_APART = 20.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a batch, and what is kept of the attempt.

    `due_at` (epoch milliseconds) and `renews`: we push it again, as its next generation. `counts`: this was an
    attempt. `failures` and `losses` as they then stand. `result` is JSON text.
    """

    state: BatchState
    outcome: Outcome
    error: str = ""
    trace: str = ""
    cause: str = ""
    due_at: int | None = None
    renews: bool = False
    counts: bool = True
    failures: int = 0
    losses: int = 0
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Tries:
    """What a queue still allows. `queue_retries` counts its own retries of this task, `now` is in epoch milliseconds.

    `first_at` gives when the first of the last so many attempts began; it is asked only where an age limits.
    `chance`, from 0 to 1, is drawn by the caller: what failed together is not to return together.
    """

    limits: RetryLimits
    queue_retries: int
    now: int
    first_at: Callable[[int], int]
    chance: float

    def left(self, attempts: int) -> bool:
        """Whether there is another try after so many failed ones."""
        age = (self.now - self.first_at(attempts)) / 1000 if self.limits.max_duration > 0 else 0.0
        return may_retry(self.limits, attempts, age)

    def again_at(self, failures: int) -> int:
        """When the next try of ours is due: the queue's backoff, give or take a tenth."""
        wait = backoff(self.limits, failures) * (1 + _JITTER * (2 * self.chance - 1))
        return self.now + int(wait * 1000)


def done(*, warning: str = "", result: str | None = None) -> Verdict:
    """The handler returned."""
    outcome = Outcome.WARNED if warning else Outcome.DONE
    return Verdict(BatchState.DONE, outcome, error=_storable(warning[:ERROR_KEPT]), result=result)


def continued(lease: Lease) -> Verdict:
    """Out of time: what is left goes on as the next task, and this was no failure."""
    return Verdict(
        BatchState.PENDING, Outcome.CONTINUED, renews=True, counts=False, failures=lease.failures, losses=lease.losses
    )


def released(lease: Lease) -> Verdict:
    """Given back before it was begun: the queue delivers it again."""
    return Verdict(BatchState.PUSHED, Outcome.RELEASED, counts=False, failures=lease.failures, losses=lease.losses)


def raised(error: Exception, lease: Lease, options: TaskOptions, tries: Tries) -> Verdict:
    """The handler raised."""
    text = text_of(error)
    trace = _storable("".join(traceback.format_exception(error))[-TRACE_KEPT:])
    if isinstance(error, Snooze):
        return _snoozed(error, lease, tries.now)
    if isinstance(error, Cancel):
        return Verdict(BatchState.CANCELLED, Outcome.CANCELLED, error=text)
    if isinstance(error, (PermanentFailure, *options.permanent)):
        return _dead(Outcome.PERMANENT, Cause.PERMANENT, text, trace, lease)
    if isinstance(error, Retry) and error.after is not None:
        verdict = _failed(Outcome.FAILED, text, trace, lease, tries)
        due = tries.now + int(error.after * 1000)
        return verdict if verdict.state is BatchState.DEAD else _renewed(verdict, due)
    return _failed(Outcome.FAILED, text, trace, lease, tries)


def timed_out(lease: Lease, options: TaskOptions, tries: Tries) -> Verdict:
    """The attempt passed its time limit; its handler may still be at work, and writes nothing any more."""
    text = f"The attempt passed its time limit of {options.time_limit:g} s."
    if options.on_timeout is OnTimeout.FAIL:
        return _dead(Outcome.TIMED_OUT, Cause.TIMED_OUT, text, "", lease)
    if not options.idempotent:
        return _undecided(Outcome.TIMED_OUT, text, lease)
    verdict = _failed(Outcome.TIMED_OUT, text, "", lease, tries)
    # Its queue still waits for the answer, and would not deliver it again until it gives that up.
    return verdict if verdict.state is BatchState.DEAD else _renewed(verdict, tries.again_at(verdict.failures))


def lost(lease: Lease, *, idempotent: bool, now: int, chance: float) -> Verdict:
    """The lease ended before the attempt said anything: its process died, or lost its way.

    The first time it is pushed again at once; after that, `chance` (from 0 to 1) picks a time: what only happened to
    be in one process with a batch that kills it is to be elsewhere the next time.
    """
    losses = lease.losses + 1
    if losses >= POISON_AFTER:
        text = f"It was lost {losses} times in a row: its attempts die, or its task vanishes."
        return replace(_dead(Outcome.LOST, Cause.POISON, text, "", lease), losses=losses)
    if not idempotent:
        return replace(_undecided(Outcome.LOST, "The attempt died.", lease), losses=losses)
    return Verdict(
        BatchState.PENDING,
        Outcome.LOST,
        error="The attempt died.",
        due_at=None if losses == 1 else now + int(_APART * 1000 * chance),
        renews=True,
        failures=lease.failures,
        losses=losses,
    )


def in_doubt(text: str, lease: Lease) -> Verdict:
    """An effect was begun, and nobody knows whether it happened."""
    return _undecided(Outcome.FAILED, text, lease)


def cancelled(verdict: Verdict) -> Verdict:
    """What a verdict becomes when the run was cancelled meanwhile: nothing of it is tried again."""
    return replace(verdict, state=BatchState.CANCELLED, due_at=None, renews=False)


def _snoozed(error: Snooze, lease: Lease, now: int) -> Verdict:
    return Verdict(
        BatchState.PENDING,
        Outcome.SNOOZED,
        error=text_of(error) if str(error) else "",
        due_at=now + int(error.after * 1000),
        renews=True,
        counts=False,
        failures=lease.failures,
        losses=lease.losses,
    )


def _failed(outcome: Outcome, text: str, trace: str, lease: Lease, tries: Tries) -> Verdict:
    failures = lease.failures + 1
    if not tries.left(failures):
        return replace(_dead(outcome, Cause.EXHAUSTED, text, trace, lease), failures=failures)
    verdict = Verdict(BatchState.PUSHED, outcome, text, trace, failures=failures)
    # A queue counts deliveries that no attempt came of; when it gives up for them, we do not.
    if not tries.left(tries.queue_retries + 1):
        return _renewed(verdict, tries.again_at(failures))
    return verdict


def _renewed(verdict: Verdict, due_at: int) -> Verdict:
    return replace(verdict, state=BatchState.PENDING, renews=True, due_at=due_at)


def _dead(outcome: Outcome, cause: Cause, text: str, trace: str, lease: Lease) -> Verdict:
    return Verdict(BatchState.DEAD, outcome, text, trace, cause=cause, failures=lease.failures + 1, losses=lease.losses)


def _undecided(outcome: Outcome, text: str, lease: Lease) -> Verdict:
    return Verdict(BatchState.UNDECIDED, outcome, text, failures=lease.failures, losses=lease.losses)


def text_of(error: BaseException) -> str:
    """An error in words that databases keep: its class, and what it says, at most 2,000 characters."""
    try:
        text = str(error)
    except Exception as unspeakable:  # noqa: BLE001 - the author's own class may raise anything
        text = f"(its text cannot be had: {type(unspeakable).__name__})"
    return _storable((f"{type(error).__name__}: {text}" if text else type(error).__name__)[:ERROR_KEPT])


def _storable(text: str) -> str:
    """Without what databases refuse: NUL in PostgreSQL, lone surrogates in both."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
