"""The interface of a driver: everything that the service asks of a queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Push:
    """One task to put on a queue.

    `queue` and `name` are short ids; `deadline` is the dispatch deadline in seconds; `schedule_at` is in epoch
    seconds, None for at once. `headers` come on top of the content type, which is JSON. `driver` names the driver
    that carries it where there are several; "" is the default one.
    """

    queue: str
    name: str
    url: str
    body: bytes
    deadline: float
    schedule_at: float | None = None
    headers: tuple[tuple[str, str], ...] = ()
    driver: str = ""


class PushOutcome(Enum):
    """What became of a push.

    DUPLICATE: the queue knows the name, so an earlier push of the same generation had arrived.
    REFUSED: the queue will never take it. UNAVAILABLE: nobody knows yet; push again later.
    """

    PUSHED = "pushed"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class PushResult:
    """The outcome, and the queue's reason where it was not taken."""

    outcome: PushOutcome
    reason: str = ""


class Driver(Protocol):
    """Carries tasks. Thread-safe."""

    @property
    def name(self) -> str:
        """What HEADRACE_DRIVER and `x-task` call it."""
        ...

    @property
    def max_body(self) -> int:
        """Bytes that one task's body may have."""
        ...

    @property
    def max_delay(self) -> float:
        """Seconds that a push may be scheduled ahead; 0: it takes no delay."""
        ...

    def push_many(self, pushes: Sequence[Push]) -> list[PushResult]:
        """Push in bulk; one result for each, in order. Never raises for what the queue answers."""
        ...

    def missing(self, queue: str, names: Sequence[str]) -> set[str]:
        """Those of the named tasks that are not on the queue any more.

        Raises:
            DriverError: the queue could not be asked.
        """
        ...

    def has_queue(self, queue: str) -> bool:
        """Whether the queue exists. True, too, when the queue cannot be asked: then the outbox waits for it."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
