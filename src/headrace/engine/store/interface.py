"""What the engine asks of a store. Every store passes the suite in `tests/engine/store_conformance.py`.

Methods that return a future only hand the work in, so a caller that is cancelled does not take its write back.
Futures are settled in the order in which the store did the work: who acts in their callbacks sees the same
order of events as the disk. A write's future is settled when the write is durable; StoreUnavailable means that
nothing of it was kept.
"""

from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from headrace.engine.model import Missing, Queue, QueueState, RefusedReason


class Record(NamedTuple):
    """One task as it is stored.

    `id` is unique in the store and grows with the time of creation. `name` is the creator's; a task without
    one goes by its id. `target` is what `headrace.engine.target` encodes. `first_at` is when the first push
    began, the `last_...` fields are the last push that ended, and `previous` is the status of its answer,
    504 where none came. `retry` are the task's own retry limits, as `headrace.engine.target` encodes them.
    """

    id: int
    queue_id: int
    due: float
    name: str | None
    created_at: float
    dispatch_deadline: float
    target: bytes
    body: bytes
    dispatch_count: int = 0
    response_count: int = 0
    execution_count: int = 0
    first_at: float | None = None
    last_dispatched_at: float | None = None
    last_scheduled_at: float | None = None
    last_responded_at: float | None = None
    last_status: int | None = None
    last_error: str = ""
    previous: int | None = None
    retry: bytes | None = None


class Done(NamedTuple):
    """A task that is finished; its name stays taken until `forget_at`."""

    queue_id: int
    task_id: int
    name: str | None
    forget_at: float


class Place(NamedTuple):
    """A place in a queue's order: by schedule time, then by id."""

    due: float
    id: int


class Document(NamedTuple):
    """What the APIs keep beside queues and tasks, opaque to the store; one by kind and key."""

    kind: str
    key: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StoredQueue:
    """A queue and its number in the store. Tasks with an id up to `purged_id` are dead, if still stored."""

    id: int
    queue: Queue
    purged_id: int


class Store(Protocol):
    """Queues, tasks, names and documents, durable."""

    async def open(self) -> list[StoredQueue]:
        """Take hold of the store and read its queues. Raises StartError."""
        ...

    async def close(self) -> None:
        """Finish what was handed in, and let go."""
        ...

    async def ended(self) -> None:
        """Return when the store serves no more: it was closed, or it has failed for good."""
        ...

    @property
    def epoch(self) -> int:
        """The number of this ownership; a later owner has a higher one."""
        ...

    def new_id(self, now: float) -> int:
        """An id above all earlier ones: microseconds since the epoch where the clock allows."""
        ...

    def pending(self, queue_id: int) -> int:
        """How many tasks are stored for the queue; O(1)."""
        ...

    def put_queue(self, queue: Queue) -> Future[StoredQueue]:
        """Insert the queue, or replace all but its state and purge time."""
        ...

    def set_state(self, queue_id: int, state: QueueState) -> Future[StoredQueue | None]:
        """None: the queue is gone."""
        ...

    def purge(self, queue_id: int, now: float) -> Future[StoredQueue | None]:
        """Every task created until now is dead; rows are removed later, in slices. None: the queue is gone."""
        ...

    def drop_queue(self, queue_id: int, now: float) -> Future[None]:
        """The queue is gone; its rows are removed later, in slices. One that is gone already is fine."""
        ...

    def create(
        self,
        records: Sequence[Record],
        now: float,
        receipt: Callable[[list[RefusedReason | None]], Document] | None = None,
    ) -> Future[list[RefusedReason | None]]:
        """Insert tasks, all or none; one answer each, None for created. A taken name is refused.

        `receipt` makes a document of the answers, which is saved in the same durable write. It may run on
        another thread, and more than once.
        """
        ...

    def claim(self, queue_id: int, epoch: int, after: Place, limit: int, max_bytes: int) -> Future[list[Record]]:
        """The queue's next tasks after a place, in order; at most `limit`, and one or up to about `max_bytes`.

        Fewer than were asked for does not say that there are no more; none does. Raises StaleEpoch.
        """
        ...

    def complete(self, epoch: int, done: Sequence[Done], retried: Sequence[Record]) -> Future[None]:
        """Remove finished tasks, keep their names, and rewrite those that are to be pushed again.

        What is not stored any more is left alone. May wait for company. What the disk refuses is held and tried
        again until it is written: StoreUnavailable says that the store has closed before. Raises StaleEpoch.
        """
        ...

    def find(self, queue_id: int, name: str, now: float) -> Future[Record | Missing]:
        """The task with this name. Of finished tasks only those that had a name of their own are remembered."""
        ...

    def page(self, queue_id: int, after: int, limit: int) -> Future[list[Record]]:
        """Up to `limit` tasks with an id above `after`, by id."""
        ...

    def delete(
        self,
        queue_id: int,
        names: Sequence[str],
        forget_at: float,
        now: float,
        receipt: Callable[[list[int | Missing]], Document] | None = None,
    ) -> Future[list[int | Missing]]:
        """Remove tasks and keep their names until `forget_at`; the answers are their ids.

        `receipt` is what it is to `create`.
        """
        ...

    def expire(self, now: float) -> Future[None]:
        """Start to forget names and tasks whose time is over; done in slices."""
        ...

    def load_documents(self, kind: str) -> Future[dict[str, bytes]]:
        """All documents of a kind, by key: what the APIs keep beside queues and tasks, opaque to the store."""
        ...

    def save_document(self, kind: str, key: str, document: bytes) -> Future[None]:
        """Write a document, in place of the one with the same kind and key."""
        ...

    def delete_document(self, kind: str, key: str) -> Future[None]:
        """Remove a document; one that is not there is fine."""
        ...
