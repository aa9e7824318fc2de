"""Why a task that waits is not pushed yet. Pure."""

import math
from dataclasses import dataclass
from enum import Enum

from headrace.engine.model import Queue, QueueState, Task


class Reason(Enum):
    """What a task waits for, in the order in which they are looked at."""

    PUSHED = "BEING_PUSHED"
    PAUSED = "QUEUE_PAUSED"
    DISABLED = "QUEUE_DISABLED"
    BACKOFF = "RETRY_BACKOFF"
    SCHEDULED = "SCHEDULED"
    UNREAD = "NOT_READ_YET"
    CONCURRENCY = "CONCURRENCY_LIMIT"
    TOKEN = "NO_TOKEN"  # noqa: S105 - of a bucket
    TURN = "NEXT"


@dataclass(frozen=True, slots=True)
class Waiting:
    """`until` is when the reason ends by itself, None where no time does that."""

    reason: Reason
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """A queue at a moment: pushes under way, and when its bucket gives the next token (infinity: never)."""

    queue: Queue
    now: float
    in_flight: int
    token_at: float


def explain(task: Task, situation: Situation, *, is_pushed: bool, is_held: bool) -> Waiting:
    """Why the task waits. `is_held`: it is among those next in line, which are in memory."""
    queue, now = situation.queue, situation.now
    if is_pushed:
        return Waiting(Reason.PUSHED)
    if queue.state is not QueueState.RUNNING:
        return Waiting(Reason.PAUSED if queue.state is QueueState.PAUSED else Reason.DISABLED)
    if task.schedule_at > now:
        return Waiting(Reason.BACKOFF if task.dispatch_count else Reason.SCHEDULED, task.schedule_at)
    if not is_held:
        return Waiting(Reason.UNREAD)
    if situation.in_flight >= queue.rate.concurrency:
        return Waiting(Reason.CONCURRENCY)
    if situation.token_at > now:
        return Waiting(Reason.TOKEN, None if situation.token_at == math.inf else situation.token_at)
    return Waiting(Reason.TURN)
