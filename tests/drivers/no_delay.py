"""A driver that takes no delay, made of one that does: for tests of what the service does then."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.clock import Clock
from headrace.drivers.base import Driver, Push, PushOutcome, PushResult


@dataclass(frozen=True, slots=True)
class NoDelay:
    """Refuses what is scheduled ahead; all else is the inner driver's."""

    inner: Driver
    clock: Clock
    max_delay: float = 0.0

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def max_body(self) -> int:
        return self.inner.max_body

    def push_many(self, pushes: Sequence[Push]) -> list[PushResult]:
        if any(push.schedule_at is not None and push.schedule_at > self.clock.now() for push in pushes):
            return [PushResult(PushOutcome.REFUSED, "this queue takes no delay")] * len(pushes)
        return self.inner.push_many(pushes)

    def missing(self, queue: str, names: Sequence[str]) -> set[str]:
        return self.inner.missing(queue, names)

    def has_queue(self, queue: str) -> bool:
        return self.inner.has_queue(queue)

    def close(self) -> None:
        self.inner.close()
