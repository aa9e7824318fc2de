"""Due tasks, through bucket and concurrency, to their targets; and what came of it, to the store.

Everything here runs in one event loop, and every change to a lane is made in the callback of the store's future
that made it durable, so memory follows the disk in the disk's own order.
"""

import asyncio
import logging
import math
from asyncio import Future
from collections.abc import Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from typing import Protocol

from headrace.clock import Clock
from headrace.engine.connection import Answer
from headrace.engine.errors import PushFailed, StoreUnavailable
from headrace.engine.http import Client
from headrace.engine.lane import Lane
from headrace.engine.model import Authorization, EngineSettings, QueueState
from headrace.engine.outcome import Failure, after_failure, retry_after
from headrace.engine.store.interface import Done, Record, Store, StoredQueue
from headrace.engine.target import compose, prepare, task_name
from headrace.engine.timer import Timer
from headrace.errors import HeadraceError

_log = logging.getLogger(__name__)

# A lane starts at most this many pushes before the others have their turn.
_TURN = 32
# How long the outcome of pushes waits after the store refused it, in seconds.
_STORE_RETRY = 1.0


class TokenSource(Protocol):
    """Gives the identity or access token of a push, signed and kept by the issuer."""

    def token(self, authorization: Authorization) -> str: ...


class Delivery:
    """One push, from its start until its outcome is durable. `dead`: the task was deleted meanwhile."""

    __slots__ = ("dead", "dispatched_at", "ended", "forced", "lane", "record")

    def __init__(self, lane: Lane, record: Record, dispatched_at: float, forced: bool) -> None:
        self.lane = lane
        self.record = record
        self.dispatched_at = dispatched_at
        self.forced = forced
        self.ended = False
        self.dead = False


class Dispatcher:
    """Runs the lanes. A lane is looked at again when something happened to it, or at its own next time."""

    def __init__(
        self, store: Store, clock: Clock, client: Client, tokens: TokenSource, settings: EngineSettings
    ) -> None:
        self.lanes: dict[int, Lane] = {}
        self.busy: dict[int, Delivery] = {}
        self._store = store
        self._clock = clock
        self._client = client
        self._tokens = tokens
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._timer = Timer(clock, self._wake)
        self._wakes: list[tuple[float, int]] = []
        self._dirty: set[Lane] = set()
        self._done: list[Done] = []
        self._retried: list[Record] = []
        self._scheduled = False
        self._stopping = False
        self._flying = 0
        self._landed = asyncio.Event()

    # What the engine tells.

    def open_lane(self, stored: StoredQueue, *, is_new: bool) -> Lane:
        """Run a queue from now on; a new one has no tasks in the store."""
        settings = self._settings
        lane = Lane(stored, self._clock.now(), settings.window, settings.window_bytes)
        if is_new:
            lane.start_empty()
        self.lanes[stored.id] = lane
        self.touch(lane)
        return lane

    def change_lane(self, stored: StoredQueue) -> None:
        """The queue's limits or state are other ones now."""
        lane = self.lanes.get(stored.id)
        if lane is not None:
            lane.change(stored.queue, self._clock.now())
            self.touch(lane)

    def purge_lane(self, stored: StoredQueue) -> None:
        """Every task of the queue up to `purged_id` is dead."""
        lane = self.lanes.get(stored.id)
        if lane is not None:
            lane.change(stored.queue, self._clock.now())
            lane.start_empty()
            self._bury(stored.id)

    def close_lane(self, queue_id: int) -> None:
        """The queue is gone."""
        lane = self.lanes.pop(queue_id, None)
        if lane is not None:
            lane.gone = True
            lane.start_empty()
            self._bury(queue_id)

    def _bury(self, queue_id: int) -> None:
        for delivery in self.busy.values():
            if delivery.record.queue_id == queue_id:
                delivery.dead = True

    def admit(self, records: Sequence[Record]) -> None:
        """Tasks were created."""
        for record in records:
            lane = self.lanes.get(record.queue_id)
            if lane is not None:
                lane.admit(record)
                self.touch(lane)

    def remove(self, queue_id: int, task_id: int) -> None:
        """A task was deleted."""
        lane = self.lanes.get(queue_id)
        if lane is not None:
            lane.remove(task_id)
            self.touch(lane)
        if task_id in self.busy:
            self.busy[task_id].dead = True

    def run(self, record: Record) -> None:
        """Push a task now, unless it is being pushed already."""
        lane = self.lanes.get(record.queue_id)
        if lane is not None and record.id not in self.busy and not self._stopping:
            self._push(lane, lane.remove(record.id) or record, forced=True)

    def look(self) -> None:
        """Look at the clock again."""
        self._timer.look()

    def touch(self, lane: Lane) -> None:
        """Something happened to a lane: look at it in this turn of the loop."""
        self._dirty.add(lane)
        self._schedule()

    async def stop(self, grace: float) -> None:
        """Start no push, wait for those under way, cut off the rest, and hand what ended to the store."""
        self._stopping = True
        self._timer.cancel()
        if self._flying:
            self._landed.clear()
            try:
                async with asyncio.timeout(grace):
                    await self._landed.wait()
            except TimeoutError:
                _log.warning("%d pushes were still under way; they will be pushed again", self._flying)
        await self._client.close()
        self._flush()

    # Turns of the loop.

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._flush()
        if self._stopping:
            return
        now = self._clock.now()
        dirty, self._dirty = self._dirty, set()
        for lane in dirty:
            self._look_at(lane, now)
        self._set_timer()

    def _look_at(self, lane: Lane, now: float) -> None:
        """Start what may start now, and note when there may be more."""
        wake = math.inf
        queue = lane.queue
        started = 0
        if queue.state is QueueState.RUNNING and not lane.gone:
            while lane.flying < queue.rate.concurrency:
                record = lane.first()
                if record is None or record.due > now:
                    lane.rest()
                    wake = math.inf if record is None else record.due
                    break
                if started == _TURN:
                    self.touch(lane)
                    break
                if record.created_at + queue.task_ttl <= now:
                    lane.remove(record.id)
                    self._finish(lane, record)
                    continue
                wake = lane.take_token(now)
                if wake:
                    break
                lane.remove(record.id)
                self._push(lane, record, forced=False)
                started += 1
        if lane.wants_more and not lane.gone:
            self._claim(lane)
        self._wake_at(lane, wake or math.inf)

    def _wake_at(self, lane: Lane, when: float) -> None:
        if when == lane.wake_at:
            return
        lane.wake_at = when
        if when != math.inf:
            heappush(self._wakes, (when, lane.id))
        if len(self._wakes) > 4 * len(self.lanes) + 64:
            self._wakes = [(kept.wake_at, kept.id) for kept in self.lanes.values() if kept.wake_at != math.inf]
            heapify(self._wakes)

    def _set_timer(self) -> None:
        while self._wakes:
            when, queue_id = self._wakes[0]
            lane = self.lanes.get(queue_id)
            if lane is not None and lane.wake_at == when:
                self._timer.set(when)
                return
            heappop(self._wakes)
        self._timer.set(math.inf)

    def _wake(self) -> None:
        now = self._clock.now()
        while self._wakes and self._wakes[0][0] <= now:
            when, queue_id = heappop(self._wakes)
            lane = self.lanes.get(queue_id)
            if lane is not None and lane.wake_at == when:
                lane.wake_at = math.inf
                self._dirty.add(lane)
        self._turn()

    def _claim(self, lane: Lane) -> None:
        settings = self._settings
        lane.claiming = True
        claim = self._store.claim(lane.id, self._store.epoch, lane.horizon, settings.window, settings.window_bytes)
        claim.add_done_callback(partial(self._claimed, lane, lane.generation))

    def _claimed(self, lane: Lane, generation: int, claim: "Future[list[Record]]") -> None:
        if generation != lane.generation:
            return
        if claim.exception() is not None:
            _log.error("tasks of %s could not be read: %s", lane.queue.name, claim.exception())
            self._loop.call_later(_STORE_RETRY, self._claim_again, lane, generation)
            return
        lane.extend(claim.result(), self.busy)
        self.touch(lane)

    def _claim_again(self, lane: Lane, generation: int) -> None:
        if generation == lane.generation:
            lane.claiming = False
            self.touch(lane)

    # Pushes.

    def _push(self, lane: Lane, record: Record, *, forced: bool) -> None:
        delivery = Delivery(lane, record, self._clock.now(), forced)
        self.busy[record.id] = delivery
        lane.flying += 1
        self._flying += 1
        ended = partial(self._ended, delivery)
        try:
            prepared = prepare(record.target, lane.short_name)
            token = None if prepared.authorization is None else self._tokens.token(prepared.authorization)
        except HeadraceError as error:
            self._loop.call_soon(ended, PushFailed(error.message))
            return
        payload = compose(prepared, record, token)
        self._client.send(prepared.origin, payload, prepared.is_head, record.dispatch_deadline, ended)

    def _ended(self, delivery: Delivery, result: Answer | PushFailed) -> None:
        lane, record = delivery.lane, delivery.record
        delivery.ended = True
        lane.flying -= 1
        self._flying -= 1
        if not self._flying:
            self._landed.set()
        self._dirty.add(lane)
        if isinstance(result, Answer) and 200 <= result.status < 300:
            self._finish(lane, record)
        else:
            self._fail(delivery, result)

    def _fail(self, delivery: Delivery, result: Answer | PushFailed) -> None:
        now = self._clock.now()
        if isinstance(result, Answer):
            status, error, wait = result.status, "", retry_after(result.status, result.headers, now)
        else:
            status, error, wait = None, result.message, 0.0
        wait_from = delivery.dispatched_at if delivery.forced else now
        failure = Failure(delivery.dispatched_at, now, wait_from, status, error, wait)
        retried = after_failure(delivery.record, delivery.lane.queue, failure)
        if retried is not None and not delivery.dead:
            self._retried.append(retried)
            self._schedule()
            return
        if not delivery.dead:
            _log.warning(
                "task %s of %s is given up after %d pushes: %s",
                *(task_name(delivery.record), delivery.lane.queue.name, delivery.record.dispatch_count + 1),
                error or f"HTTP status code {status}",
            )
        self._finish(delivery.lane, delivery.record)

    def _finish(self, lane: Lane, record: Record) -> None:
        forget_at = self._clock.now() + lane.queue.name_memory
        self._done.append(Done(record.queue_id, record.id, record.name, forget_at))
        self._schedule()

    # Outcomes.

    def _flush(self) -> None:
        if self._done or self._retried:
            done, retried = self._done, self._retried
            self._done, self._retried = [], []
            self._complete(done, retried)

    def _complete(self, done: list[Done], retried: list[Record]) -> None:
        completion = self._store.complete(self._store.epoch, done, retried)
        completion.add_done_callback(partial(self._completed, done, retried))

    def _complete_again(self, done: list[Done], retried: list[Record]) -> None:
        if not self._stopping:
            self._complete(done, retried)

    def _completed(self, done: list[Done], retried: list[Record], completion: "Future[None]") -> None:
        error = completion.exception()
        if error is not None:
            _log.error("the outcome of %d pushes could not be written: %s", len(done) + len(retried), error)
            if isinstance(error, StoreUnavailable):
                self._loop.call_later(_STORE_RETRY, self._complete_again, done, retried)
            return
        for task in done:
            self.busy.pop(task.task_id, None)
        for record in retried:
            delivery = self.busy.pop(record.id, None)
            lane = self.lanes.get(record.queue_id)
            if lane is not None and delivery is not None and not delivery.dead:
                lane.admit(record)
                self.touch(lane)
