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
from headrace.engine.bell import Bell
from headrace.engine.connection import Answer
from headrace.engine.errors import PushFailed
from headrace.engine.flight import Delivery, Flight
from headrace.engine.history import HEAD_KEPT, Entry, History
from headrace.engine.lane import Lane
from headrace.engine.model import Authorization, EngineSettings, QueueState
from headrace.engine.outcome import Failure, after_failure, retry_after
from headrace.engine.store.interface import Done, Record, Store, StoredQueue
from headrace.engine.target import APP_ENGINE_DEADLINE, compose, prepare, task_name
from headrace.engine.timer import Timer
from headrace.engine.transport import Transport
from headrace.errors import HeadraceError

_log = logging.getLogger(__name__)

# A lane starts at most this many pushes before the others have their turn.
_TURN = 32
# How long a lane waits after its tasks could not be read, in seconds.
_STORE_RETRY = 1.0


class TokenSource(Protocol):
    """Gives the identity or access token of a push, signed and kept by the issuer."""

    def token(self, authorization: Authorization) -> str: ...


class Dispatcher:
    """Runs the lanes. A lane is looked at again when something happened to it, or at its own next time."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        transport: Transport,
        tokens: TokenSource,
        settings: EngineSettings,
        bell: Bell,
    ) -> None:
        self.lanes: dict[int, Lane] = {}
        self.busy: dict[int, Flight] = {}
        self.history = History(settings.history, settings.history_bytes)
        self.succeeded = 0
        self.failed = 0
        self._store = store
        self._clock = clock
        self._transport = transport
        self._tokens = tokens
        self._settings = settings
        self._bell = bell
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
            self.history.forget(queue_id)
            self._bury(queue_id)

    def _bury(self, queue_id: int) -> None:
        for flight in self.busy.values():
            if flight.record.queue_id == queue_id:
                flight.dead = True
        self._bell.ring()

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

    def run(self, record: Record) -> bool:
        """Push a task now, also one that is being pushed already; False when it is over, or its queue is."""
        lane = self.lanes.get(record.queue_id)
        flight = self.busy.get(record.id)
        if lane is None or (flight is not None and (flight.over or flight.dead)):
            return False
        if not self._stopping:
            self._push(lane, lane.remove(record.id) or record, forced=True)
        return True

    def look(self) -> None:
        """Look at the clock again."""
        self._timer.look()

    def touch(self, lane: Lane) -> None:
        """Something happened to a lane: look at it in this turn of the loop."""
        self._dirty.add(lane)
        self._schedule()

    def next_due(self) -> float:
        """When a push may start by itself, from what is held in memory; infinity where none will."""
        wakes = () if self._stopping else (lane.wake_at for lane in self.lanes.values())
        return min(wakes, default=math.inf)

    def is_settled(self) -> bool:
        """Whether nothing is pushed, written or read, and everything was looked at that happened."""
        return not (
            self._dirty
            or any(lane.claiming for lane in self.lanes.values())
            or any(not flight.dead for flight in self.busy.values())
        )

    def is_idle(self, lane: Lane) -> bool:
        """Whether nothing of the lane is pushed, written or read, and nothing due will be pushed by itself."""
        first = lane.first()
        return not (
            lane.claiming
            or lane in self._dirty
            or any(flight.lane is lane and not flight.dead for flight in self.busy.values())
            or (lane.wake_at != math.inf and first is not None and first.due <= self._clock.now())
        )

    def halt(self) -> None:
        """Start no push from now on."""
        self._stopping = True
        self._timer.cancel()

    async def stop(self, grace: float) -> None:
        """Start no push, wait for those under way, cut off the rest, and hand what ended to the store."""
        self.halt()
        if self._flying:
            self._landed.clear()
            try:
                async with asyncio.timeout(grace):
                    await self._landed.wait()
            except TimeoutError:
                _log.warning("%d pushes were still under way; they will be pushed again", self._flying)
        await self._transport.close()
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
        self._bell.ring()

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
        now = self._clock.now()
        flight = self.busy.get(record.id)
        if flight is None:
            flight = self.busy[record.id] = Flight(lane, record, now)
        else:
            flight.dispatched_at = now
            record = flight.record._replace(dispatch_count=flight.record.dispatch_count + flight.pushes)
        delivery = Delivery(flight, record, now, self._loop.time(), forced)
        flight.pushes += 1
        lane.flying += 1
        self._flying += 1
        ended = partial(self._ended, delivery)
        queue = lane.queue
        try:
            prepared = prepare(
                record.target, lane.short_name, queue.http_overrides, queue.routing, self._settings.app_engine
            )
            token = None if prepared.authorization is None else self._tokens.token(prepared.authorization)
        except HeadraceError as error:
            self._loop.call_soon(ended, PushFailed(error.message))
            return
        delivery.prepared = prepared
        payload = compose(prepared, record, token)
        deadline = record.dispatch_deadline or APP_ENGINE_DEADLINE
        self._transport.send(prepared.origin, payload, prepared.method == "HEAD", deadline, ended)

    def _ended(self, delivery: Delivery, result: Answer | PushFailed) -> None:
        flight = delivery.flight
        lane, record = flight.lane, flight.record
        flight.pushes -= 1
        lane.flying -= 1
        self._flying -= 1
        if not self._flying:
            self._landed.set()
        self._dirty.add(lane)
        self._note(delivery, result)
        is_success = isinstance(result, Answer) and 200 <= result.status < 300
        if is_success:
            self.succeeded += 1
        else:
            self.failed += 1
        if flight.over:
            self._schedule()
        elif is_success or flight.dead:
            flight.over = True
            self._finish(lane, record)
        else:
            self._fail(delivery, result)

    def _note(self, delivery: Delivery, result: Answer | PushFailed) -> None:
        if delivery.flight.lane.gone:
            return
        if isinstance(result, Answer):
            status, error, head = result.status, "", result.body[:HEAD_KEPT]
        else:
            status, error, head = None, result.message, b""
        answers = delivery.flight.lane.answers
        answers[status or 0] = answers.get(status or 0, 0) + 1
        delivery.flight.lane.minutes.add(self._clock.now(), succeeded=status is not None and 200 <= status < 300)
        seconds = self._loop.time() - delivery.begun_at
        self.history.add(
            Entry(delivery.record, delivery.prepared, delivery.dispatched_at, seconds, status, error, head)
        )

    def _fail(self, delivery: Delivery, result: Answer | PushFailed) -> None:
        now = self._clock.now()
        flight, prepared = delivery.flight, delivery.prepared
        if isinstance(result, Answer):
            is_app_engine = prepared is not None and prepared.is_app_engine
            wait = retry_after(result.status, result.headers, now, is_app_engine=is_app_engine)
            status, error = result.status, ""
        else:
            status, error, wait = None, result.message, 0.0
        wait_from = delivery.dispatched_at if delivery.forced else now
        failure = Failure(delivery.dispatched_at, now, wait_from, status, error, wait)
        retried = after_failure(flight.record, flight.lane.queue, failure)
        if retried is not None:
            flight.record = retried
        self._schedule()
        if flight.pushes:
            return  # another push may still do the task; the last one to end decides
        if retried is not None:
            self._retried.append(retried)
            return
        _log.warning(
            "task %s of %s is given up after %d pushes: %s",
            *(task_name(flight.record), flight.lane.queue.name, flight.record.dispatch_count + 1),
            error or f"HTTP status code {status}",
        )
        flight.over = True
        self._finish(flight.lane, flight.record)

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

    def _completed(self, done: list[Done], retried: list[Record], completion: "Future[None]") -> None:
        error = completion.exception()
        if error is not None:
            # The store has closed, or another process owns it now: these tasks will be pushed again.
            _log.error("the outcome of %d pushes could not be written: %s", len(done) + len(retried), error)
            return
        for task in done:
            self.busy.pop(task.task_id, None)
        for record in retried:
            flight = self.busy.get(record.id)
            if flight is None or flight.over or flight.pushes or flight.record is not record:
                continue  # a later outcome is on its way
            del self.busy[record.id]
            lane = self.lanes.get(record.queue_id)
            if lane is not None and not flight.dead:
                lane.admit(record)
                self.touch(lane)
        self._bell.ring()
