"""Queues as people see and steer them: their state and limits, what waits on them, what was delivered.

`QueueControl` has an implementation for each kind of queue: the engine in this process, a queue server over its own
API, and Cloud Tasks, which tells less: what it does not tell is None here, and its deliveries are kept by nobody.
`QueueControls` are those of a service: each queue is asked through the drivers that carry its tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Protocol

from headrace.errors import DriverError
from headrace.retries import RetryLimits

_RATE = ("rate_per_second", "bucket_size", "max_concurrent_requests")
LIMITS = (*_RATE, *(each.name for each in fields(RetryLimits)))
"""The names of a queue's limits, the retry limits last."""


_SECRETS = ("authorization", "cookie", "token", "secret", "api-key", "apikey", "password", "jwt")


def hide_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as people are shown them: by their names, those that may carry a secret have no value. Pure."""
    return {
        name: "(hidden)" if any(word in name.lower() for word in _SECRETS) else value for name, value in headers.items()
    }


class QueueState(StrEnum):
    """What a queue does with its tasks; only a running one pushes them by itself."""

    RUNNING = "running"
    PAUSED = "paused"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How fast, how many at once, and how often a queue pushes; the names are those of queue.yaml.

    `rate_per_second` 0 pushes nothing. `bucket_size` and `max_concurrent_requests` count tasks.
    """

    rate_per_second: float
    bucket_size: int
    max_concurrent_requests: int
    retry: RetryLimits

    def values(self) -> dict[str, float]:
        """Each limit by its name, in the order of `LIMITS`."""
        return {name: getattr(self, name) for name in _RATE} | asdict(self.retry)

    def changed(self, changes: Mapping[str, float]) -> "QueueLimits":
        """The same with some of them, by their names, changed."""
        rate = {name: value for name, value in changes.items() if name in _RATE}
        retry = {name: value for name, value in changes.items() if name not in _RATE}
        return replace(self, retry=replace(self.retry, **retry), **rate)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue at a moment; `name` is its short id.

    `declared` is what its file says where the limits in force are others; None where they are the file's, or where
    nobody tells. `set_by` names who put these over the file's, where that is known. `waiting` counts stored tasks,
    those in flight included; `oldest_due` is when the first in line was due, in epoch seconds.
    """

    name: str
    state: QueueState
    limits: QueueLimits
    declared: QueueLimits | None = None
    set_by: str | None = None
    waiting: int | None = None
    in_flight: int | None = None
    oldest_due: float | None = None


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """A task on a queue. Times are epoch seconds; `why` says in words why it is not pushed yet, "" where nobody tells.

    `dispatch_count` counts pushes begun, `last_status` is the HTTP status of the last that ended. `body` is None
    where the queue does not give it out.
    """

    name: str
    created_at: float
    schedule_at: float
    dispatch_count: int
    last_status: int | None
    why: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One push that ended: what was sent, and what came back.

    `task` is the task's short name, `number` counts its pushes from 1, `started_at` is in epoch seconds. `status` is
    the HTTP status of the answer; None where none came, and `error` then says why. `head` is the beginning of the
    answer's body.
    """

    task: str
    number: int
    started_at: float
    seconds: float
    status: int | None
    error: str
    head: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class QueueControl(Protocol):
    """Reads and steers queues, which are named by their short ids. Thread-safe.

    Every method raises DriverError where the queues cannot be asked. `actor` is whom an audit of the queues' own
    names; the service keeps one of its own.
    """

    @property
    def adjustable(self) -> frozenset[str]:
        """Those of `LIMITS` that `limit` changes: Cloud Tasks picks the size of its buckets itself."""
        ...

    def list(self) -> Sequence[QueueStatus]:
        """All queues, by name."""
        ...

    def show(self, queue: str) -> QueueStatus | None:
        """One queue; None when there is no such queue."""
        ...

    def pause(self, queue: str, *, actor: str) -> None:
        """Push nothing more by itself; tasks may still be created. Raises NotFound."""
        ...

    def resume(self, queue: str, *, actor: str) -> None:
        """Push again. Raises NotFound."""
        ...

    def purge(self, queue: str, *, actor: str) -> int | None:
        """Drop every task created until now; how many were stored, None where nobody tells. Raises NotFound."""
        ...

    def limit(self, queue: str, limits: QueueLimits | None, *, actor: str) -> None:
        """Put limits over those of the queue's file, until None gives the queue back to it.

        A limit that is not `adjustable` is passed over. Raises NotFound, BadRequest for limits that no queue may have,
        and WrongState for None where no file is known.
        """
        ...

    def tasks(self, queue: str, *, limit: int, after: str = "") -> tuple[Sequence[QueuedTask], str]:
        """Up to `limit` stored tasks, the oldest first, and what to give as `after` for those behind; "" at the end.

        Raises NotFound.
        """
        ...

    def task(self, queue: str, name: str) -> QueuedTask | None:
        """One stored task; None when it is not there: it ended, or never was."""
        ...

    def deliveries(self, queue: str, task: str | None = None, *, limit: int) -> Sequence[Delivery] | None:
        """The last deliveries of a queue, or of one of its tasks, the newest first. Raises NotFound.

        None where nobody keeps them, as with Cloud Tasks.
        """
        ...

    def run(self, queue: str, task: str, *, actor: str) -> bool:
        """Push a task now, whatever the queue's state and rate; False when it is not there."""
        ...

    def delete(self, queue: str, task: str, *, actor: str) -> bool:
        """Drop one task; False when it is not there."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class QueueControls:
    """The queues of a service. `by_driver` has what asks and steers the queues of each driver.

    `carried` gives the names of the drivers that carry a queue's tasks; a queue that is not in it goes by `default`.
    """

    def __init__(
        self, by_driver: Mapping[str, QueueControl], default: str, carried: Mapping[str, frozenset[str]]
    ) -> None:
        self._by_driver = by_driver
        self._default = default
        self._carried = carried

    def list(self) -> dict[str, QueueStatus]:
        """The queues that can be asked, by name: one question a driver. What cannot be asked is left out."""
        found: dict[str, QueueStatus] = {}
        for driver, control in self._by_driver.items():
            try:
                statuses = control.list()
            except DriverError:
                continue
            for status in statuses:
                if driver == self._drivers_of(status.name)[0]:
                    found[status.name] = status
        return found

    def of(self, queue: str) -> Sequence[QueueControl]:
        """What steers this queue: one, or two while two drivers carry its tasks.

        Raises DriverError where nothing does.
        """
        controls = [self._by_driver[name] for name in self._drivers_of(queue) if name in self._by_driver]
        if not controls:
            raise DriverError(f"Nothing here can ask the queue {queue}.")
        return controls

    def close(self) -> None:
        """Let go of connections."""
        for control in self._by_driver.values():
            control.close()

    def _drivers_of(self, queue: str) -> Sequence[str]:
        return sorted(self._carried.get(queue, {self._default}))
