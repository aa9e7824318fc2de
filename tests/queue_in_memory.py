"""A queue in the test's own memory: stands for Cloud Tasks where a test decides itself what is delivered and when.

It keeps what was pushed, refuses a name it has seen, and can be down, lose tasks or not have a queue. The real
queue server is behind the end-to-end tests.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.drivers.base import Push, PushOutcome, PushResult
from headrace.errors import DriverError


@dataclass
class QueueInMemory:
    """A driver; `tasks` are those on the queue, by name, in order."""

    name: str = "memory"
    max_body: int = 1_000_000
    max_delay: float = 30 * 86_400.0
    down: bool = False
    queues: set[str] = field(default_factory=lambda: {"work", "other"})
    refuse: set[str] = field(default_factory=set)
    tasks: dict[str, Push] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    duplicates: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def push_many(self, pushes: Sequence[Push]) -> list[PushResult]:
        with self.lock:
            return [self._push(push) for push in pushes]

    def _push(self, push: Push) -> PushResult:
        if self.down:
            return PushResult(PushOutcome.UNAVAILABLE, "down")
        if push.queue in self.refuse:
            return PushResult(PushOutcome.REFUSED, "the queue does not take this")
        if push.name in self.seen:
            self.duplicates += 1
            return PushResult(PushOutcome.DUPLICATE)
        self.seen.add(push.name)
        self.tasks[push.name] = push
        return PushResult(PushOutcome.PUSHED)

    def missing(self, queue: str, names: Sequence[str]) -> set[str]:
        if self.down:
            raise DriverError("down")
        with self.lock:
            return {name for name in names if name not in self.tasks}

    def has_queue(self, queue: str) -> bool:
        return queue in self.queues

    def close(self) -> None:
        pass
