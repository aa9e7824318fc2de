"""One queue as the dispatcher sees it: its next due tasks in memory, its bucket, its pushes under way."""

import math
from collections.abc import Container, Sequence
from heapq import heapify, heappop, heappush, nsmallest

from headrace.engine import bucket
from headrace.engine.minutes import Minutes
from headrace.engine.model import Queue
from headrace.engine.store.interface import Place, Record, StoredQueue

_START = Place(-math.inf, 0)
_END = Place(math.inf, 0)

# How late, in seconds, a push may start and still count from the moment its token came. Without it, each late
# wake-up of a full bucket would lose part of a token, and rates would drift low.
_LATENESS = 0.02


class Lane:
    """Holds every task that waits on the queue up to its `horizon`; what lies beyond is in the store only.

    `window` and `window_bytes` bound what is held, twice over while tasks are created.
    """

    def __init__(self, stored: StoredQueue, now: float, window: int, window_bytes: int) -> None:
        self.id = stored.id
        self.queue: Queue = stored.queue
        self.short_name = stored.queue.name.rpartition("/")[2]
        self.window = window
        self.window_bytes = window_bytes
        self.flying = 0
        self.gone = False
        self.wake_at = math.inf
        self.horizon = _START
        self.claiming = False
        self.generation = 0
        self.answers: dict[int, int] = {}
        self.minutes = Minutes()
        self._bucket = bucket.full(stored.queue.rate, now)
        self._token_awaited = False
        self._waiting: dict[int, Record] = {}
        self._heap: list[tuple[float, int]] = []
        self._bytes = 0

    def change(self, queue: Queue, now: float) -> None:
        """Take on new limits or a new state; tokens that have gathered stay, up to the new burst."""
        old = bucket.refill(self._bucket, self.queue.rate, now)
        self._bucket = bucket.refill(old, queue.rate, now)
        self.queue = queue

    def start_empty(self) -> None:
        """The store holds no live task of this queue: all that come will be admitted."""
        self._waiting.clear()
        self._heap.clear()
        self._bytes = 0
        self.horizon = _END
        self._forget_claim()

    def admit(self, record: Record) -> None:
        """A task was created, or waits again; it is held if it lies within the horizon."""
        if (record.due, record.id) > self.horizon:
            return
        self._hold(record)
        if len(self._waiting) > 2 * self.window or self._bytes > 2 * self.window_bytes:
            self._trim()

    def extend(self, records: Sequence[Record], busy: Container[int]) -> None:
        """Take in what was claimed after the horizon, save the busy; nothing says that nothing lies beyond."""
        self.claiming = False
        for record in records:
            if record.id not in self._waiting and record.id not in busy:
                self._hold(record)
        self.horizon = Place(records[-1].due, records[-1].id) if records else _END

    @property
    def wants_more(self) -> bool:
        """Whether tasks should be claimed from the store."""
        is_low = 2 * len(self._waiting) <= self.window and 2 * self._bytes <= self.window_bytes
        return is_low and not self.claiming and self.horizon != _END

    def first(self) -> Record | None:
        """The task that waits first in line."""
        while self._heap:
            due, task = self._heap[0]
            record = self._waiting.get(task)
            if record is not None and record.due == due:
                return record
            heappop(self._heap)
        return None

    def next_in_line(self, limit: int) -> list[Record]:
        """Up to `limit` of the tasks that are held, in the order of their turn."""
        return nsmallest(limit, self._waiting.values(), key=lambda record: (record.due, record.id))

    def remove(self, task: int) -> Record | None:
        """Hold a task no more."""
        record = self._waiting.pop(task, None)
        if record is not None:
            self._bytes -= len(record.body)
            if len(self._heap) > 2 * len(self._waiting) + 64:
                self._heap = [(kept.due, kept.id) for kept in self._waiting.values()]
                heapify(self._heap)
        return record

    def holds(self, task: int) -> bool:
        """Whether the task is among those next in line."""
        return task in self._waiting

    @property
    def token_at(self) -> float:
        """When there is a whole token, or since when; infinity where the rate or the burst is 0."""
        return bucket.next_at(self._bucket, self.queue.rate)

    def take_token(self, now: float) -> float:
        """Take a token for a push; 0 when it was given, else the time to ask again."""
        limits = self.queue.rate
        ready = bucket.next_at(self._bucket, limits)
        if ready > now:
            self._token_awaited = True
            return ready
        at = max(ready, now - _LATENESS) if self._token_awaited else now
        taken = bucket.take(self._bucket, limits, at)
        if taken is None:
            return math.nextafter(now, math.inf)
        self._bucket = taken
        return 0.0

    def tokens(self, now: float) -> float:
        """Tokens that are there at `now`."""
        return bucket.refill(self._bucket, self.queue.rate, now).tokens

    def rest(self) -> None:
        """Nothing is due: tokens gather from now on as in a queue that rests."""
        self._token_awaited = False

    def _hold(self, record: Record) -> None:
        self._waiting[record.id] = record
        self._bytes += len(record.body)
        heappush(self._heap, (record.due, record.id))

    def _trim(self) -> None:
        """Hold only the first tasks in line, half of the bounds at most, and draw the horizon in behind them."""
        kept: list[Record] = []
        room = self.window_bytes
        for record in nsmallest(self.window, self._waiting.values(), key=lambda record: (record.due, record.id)):
            if kept and room < len(record.body):
                break
            room -= len(record.body)
            kept.append(record)
        self._waiting = {record.id: record for record in kept}
        self._heap = [(record.due, record.id) for record in kept]
        heapify(self._heap)
        self._bytes = sum(len(record.body) for record in kept)
        self.horizon = Place(kept[-1].due, kept[-1].id)
        self._forget_claim()

    def _forget_claim(self) -> None:
        self.claiming = False
        self.generation += 1
