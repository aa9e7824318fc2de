"""The last deliveries of each queue, in memory: what was pushed, and what came back."""

from collections import deque
from itertools import islice
from typing import NamedTuple

from headrace.engine.encoding import decode_target
from headrace.engine.model import DeliveryRecord, HttpTarget
from headrace.engine.store.interface import Record
from headrace.engine.target import Prepared, task_name

HEAD_KEPT = 256
"""Bytes of each answer's body that are kept."""
_SIZE_OF_ENTRY = 1024
"""About what an entry takes beside its task."""


class Entry(NamedTuple):
    """A delivery as it is noted; `record` is the task as it was pushed. No request was made: `prepared` is None."""

    record: Record
    prepared: Prepared | None
    started_at: float
    seconds: float
    status: int | None
    error: str
    head: bytes

    @property
    def size(self) -> int:
        return _SIZE_OF_ENTRY + len(self.record.body) + len(self.record.target)


class History:
    """Keeps the last `limit` deliveries of each queue, and fewer where they would take more than `max_bytes`."""

    def __init__(self, limit: int, max_bytes: int) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._entries: dict[int, deque[Entry]] = {}
        self._sizes: dict[int, int] = {}

    def add(self, entry: Entry) -> None:
        """Note a delivery that ended."""
        queue = entry.record.queue_id
        entries = self._entries.setdefault(queue, deque())
        entries.append(entry)
        size = self._sizes.get(queue, 0) + entry.size
        while entries and (len(entries) > self._limit or size > self._max_bytes):
            size -= entries.popleft().size
        self._sizes[queue] = size

    def list(self, queue: int, task: str | None, limit: int) -> list[DeliveryRecord]:
        """Up to `limit` deliveries of a queue, or of one of its tasks, the last one first."""
        found = (e for e in reversed(self._entries.get(queue, ())) if task is None or task_name(e.record) == task)
        return [_delivery(entry) for entry in islice(found, limit)]

    def forget(self, queue: int) -> None:
        """Keep nothing of the queue's deliveries so far."""
        self._entries.pop(queue, None)
        self._sizes.pop(queue, None)


def _delivery(entry: Entry) -> DeliveryRecord:
    record, prepared = entry.record, entry.prepared
    if prepared is None:
        target = decode_target(record.target, b"")
        method, headers = target.method, target.headers
        url = target.url if isinstance(target, HttpTarget) else target.relative_uri
    else:
        method, url, headers = prepared.method, prepared.url, prepared.headers
    return DeliveryRecord(
        task=task_name(record),
        number=record.dispatch_count + 1,
        started_at=entry.started_at,
        seconds=entry.seconds,
        method=method,
        url=url,
        headers=headers,
        body=record.body,
        status=entry.status,
        error=entry.error,
        head=entry.head,
    )
