"""The states that rows are in."""

from enum import StrEnum


class RunState(StrEnum):
    """splitting → running → completed | failed; skipped never started."""

    SPLITTING = "splitting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class BatchState(StrEnum):
    """pending (not pushed yet: the outbox) → pushed → running → done | dead | cancelled."""

    PENDING = "pending"
    PUSHED = "pushed"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How an attempt ended: lost is a lease that ended before the attempt said anything."""

    DONE = "done"
    FAILED = "failed"
    LOST = "lost"
    RELEASED = "released"
