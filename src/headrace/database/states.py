"""The states that rows are in."""

from enum import StrEnum


class RunState(StrEnum):
    """queued (behind another run) → splitting ⇄ running → completed | failed | cancelled; skipped never started.

    splitting: a splitter holds the lease, or is asked for. running: none is needed until a step has ended.
    cancelling: cancelled, and its last attempts have not ended yet.
    """

    QUEUED = "queued"
    SPLITTING = "splitting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


RUN_END = (RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED, RunState.SKIPPED)


class BatchState(StrEnum):
    """pending (not pushed yet: the outbox) → pushed → running → done | dead | cancelled.

    undecided: an attempt died, and a person says what becomes of the batch.
    """

    PENDING = "pending"
    PUSHED = "pushed"
    RUNNING = "running"
    UNDECIDED = "undecided"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


LIVE = (BatchState.PENDING, BatchState.PUSHED, BatchState.RUNNING, BatchState.UNDECIDED)


class Outcome(StrEnum):
    """How an attempt ended.

    warned: done, with a warning. continued: out of time, the rest goes on as another task. snoozed: too early.
    failed: to be tried again. permanent: not to be tried again. timed_out: past its limit. lost: its lease ended
    before it said anything. released: given back before it began. cancelled: its run was.
    """

    DONE = "done"
    WARNED = "warned"
    CONTINUED = "continued"
    SNOOZED = "snoozed"
    FAILED = "failed"
    PERMANENT = "permanent"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    RELEASED = "released"
    CANCELLED = "cancelled"


class Cause(StrEnum):
    """Why a batch is dead, or waits.

    exhausted: no try is left. permanent: its handler said so. poison: its attempts died again and again.
    timed_out: past its limit, where that is final. refused: the queue never takes it. vanished: the queue lost it.
    capped: not dead; at its last delivery no place was free.
    """

    EXHAUSTED = "exhausted"
    PERMANENT = "permanent"
    POISON = "poison"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    VANISHED = "vanished"
    CAPPED = "capped"


class DisplayState(StrEnum):
    """The state of a batch in the words of a list that people look through.

    warning: done with one, or waiting for a person's decision. error: dead.
    """

    WAITING = "waiting"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    WARNING = "warning"
    ERROR = "error"
    CANCELLED = "cancelled"


_DISPLAYED = {
    BatchState.PENDING: DisplayState.WAITING,
    BatchState.PUSHED: DisplayState.WAITING,
    BatchState.RUNNING: DisplayState.RUNNING,
    BatchState.UNDECIDED: DisplayState.WARNING,
    BatchState.DONE: DisplayState.SUCCESSFUL,
    BatchState.DEAD: DisplayState.ERROR,
    BatchState.CANCELLED: DisplayState.CANCELLED,
}


def display_state(state: BatchState, error: str) -> DisplayState:
    """What a batch is in a list, by its state and its last error, which of a done one is its warning. Pure."""
    return DisplayState.WARNING if state is BatchState.DONE and error else _DISPLAYED[state]


class ItemState(StrEnum):
    """How an item stands, as one letter of its batch's `outcomes`."""

    LEFT = "."
    DONE = "d"
    RETRIED = "r"
    FAILED = "f"


class EffectState(StrEnum):
    """begun is in doubt until it is done."""

    BEGUN = "begun"
    DONE = "done"
