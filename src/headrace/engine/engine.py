"""The engine's facade: queues and tasks, durable before any answer, pushed at the rate of their queue."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from headrace.clock import Clock
from headrace.engine.bell import Bell
from headrace.engine.dispatcher import Dispatcher, TokenSource
from headrace.engine.encoding import decode_retry, decode_target, encode_retry, encode_target
from headrace.engine.http import Client, raise_file_limit
from headrace.engine.lane import Lane
from headrace.engine.minutes import MinuteCounts
from headrace.engine.model import (
    Attempt,
    CreateRefused,
    DeliveryRecord,
    EngineSettings,
    Missing,
    NewTask,
    Queue,
    QueueState,
    QueueStats,
    RefusedReason,
    Target,
    Task,
)
from headrace.engine.store.interface import Document, Record, Store, StoredQueue
from headrace.engine.store.written import written
from headrace.engine.target import aim, task_name
from headrace.engine.timer import Timer
from headrace.engine.transport import Transport
from headrace.engine.waiting import Situation, Waiting, explain

__all__ = ["Engine", "TokenSource"]

_EXPIRY_PERIOD = 60.0


class Engine:
    """Queues, tasks and their pushes. Every method belongs to the event loop that ran `start`.

    Methods that write answer after the write is durable, and raise StoreUnavailable when it could not be made.
    A caller that is cancelled does not take its write back. `bell` is rung whenever the answers of `next_due`,
    `is_settled` and `is_idle` may have changed. Without a `transport`, pushes go over the network.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tokens: TokenSource,
        settings: EngineSettings,
        bell: Bell | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._settings = settings
        self._bell = bell or Bell()
        self._transport = transport
        self._lanes: dict[str, Lane] = {}
        self._running: Dispatcher | None = None
        self._expiry = Timer(clock, self._expire)

    async def start(self) -> None:
        """Open the store and push what is due. Raises StartError."""
        queues = await self._store.open()
        raise_file_limit()
        transport = self._transport or Client(tls=self._settings.tls, reach=self._settings.reach)
        self._running = Dispatcher(self._store, self._clock, transport, self._tokens, self._settings, self._bell)
        for stored in queues:
            self._lanes[stored.queue.name] = self._running.open_lane(stored, is_new=False)
        self._expire()

    async def stop(self, grace: float = 10.0) -> None:
        """Start no push, wait up to `grace` seconds for those under way, write what ended, close the store."""
        self._expiry.cancel()
        if self._running is not None:
            await self._running.stop(grace)
        await self._store.close()

    def halt(self) -> None:
        """Start no push from now on; those under way go on. `stop` may follow later."""
        self._dispatcher.halt()

    def clock_moved(self) -> None:
        """Look at the clock again. To be called by whoever moves a test clock."""
        self._dispatcher.look()
        self._expiry.look()

    @property
    def _dispatcher(self) -> Dispatcher:
        if self._running is None:
            raise RuntimeError("The engine was not started.")
        return self._running

    # What stands and what waits.

    @property
    def pushes(self) -> tuple[int, int]:
        """How many pushes succeeded and failed since the start."""
        return self._dispatcher.succeeded, self._dispatcher.failed

    def next_due(self) -> float:
        """The next moment at which a push may start by itself; infinity where none will."""
        return self._dispatcher.next_due()

    def is_settled(self) -> bool:
        """Whether no push is under way and its outcome durable, so that nothing happens before `next_due`.

        Pushes whose queue or task was deleted meanwhile do not count.
        """
        return self._dispatcher.is_settled()

    def is_idle(self, queue: str) -> bool:
        """Whether the queue has no push under way and no due task that it will push by itself.

        Tasks that wait for a token count, future ones do not, nor those of a queue that is paused, or whose rate
        or concurrency is 0. A queue that is missing is idle.
        """
        lane = self._lanes.get(queue)
        return lane is None or self._dispatcher.is_idle(lane)

    def explain(self, tasks: Sequence[Task]) -> list[Waiting]:
        """Why each of these tasks of one queue is not pushed yet; none where the queue is missing."""
        lane = self._lanes.get(tasks[0].queue) if tasks else None
        if lane is None:
            return []
        situation = Situation(lane.queue, self._clock.now(), lane.flying, lane.token_at)
        busy = self._dispatcher.busy
        return [explain(task, situation, is_pushed=task.id in busy, is_held=lane.holds(task.id)) for task in tasks]

    # Queues.

    async def put_queue(self, queue: Queue) -> Queue:
        """Create the queue, or replace its limits and memory; an existing queue keeps state and purge time."""
        return (await written(self._store.put_queue(queue), self._opened)).queue

    def get_queue(self, name: str) -> Queue | None:
        """None when there is no such queue."""
        lane = self._lanes.get(name)
        return None if lane is None else lane.queue

    def list_queues(self) -> list[Queue]:
        """All queues, by name."""
        return [lane.queue for _, lane in sorted(self._lanes.items())]

    async def delete_queue(self, name: str) -> bool:
        """Delete the queue, its tasks and the names it remembers; False when there is none."""
        lane = self._lanes.get(name)
        if lane is None:
            return False
        await written(self._store.drop_queue(lane.id, self._clock.now()), partial(self._dropped, lane))
        return True

    async def set_queue_state(self, name: str, state: QueueState) -> Queue | None:
        """Pause or resume the queue. None when there is no such queue."""
        lane = self._lanes.get(name)
        if lane is None:
            return None
        stored = await written(self._store.set_state(lane.id, state), self._changed)
        return None if stored is None else stored.queue

    async def purge_queue(self, name: str) -> Queue | None:
        """Every task created until now dies; a push under way is its last. None when there is no such queue."""
        lane = self._lanes.get(name)
        if lane is None:
            return None
        stored = await written(self._store.purge(lane.id, self._clock.now()), self._purged)
        return None if stored is None else stored.queue

    def queue_stats(self, name: str) -> QueueStats | None:
        """Counters of the queue, O(1). None when there is no such queue."""
        lane = self._lanes.get(name)
        if lane is None:
            return None
        first = lane.first()
        tokens = lane.tokens(self._clock.now())
        return QueueStats(self._store.pending(lane.id), lane.flying, None if first is None else first.due, tokens)

    def answers(self, name: str) -> Mapping[int, int]:
        """How many pushes of the queue ended with each HTTP status, 0 for no answer, since the start. O(1)."""
        lane = self._lanes.get(name)
        return {} if lane is None else lane.answers

    def minutes(self, name: str) -> MinuteCounts | None:
        """The pushes of the queue that ended in each minute of the last hour. None when there is no such queue."""
        lane = self._lanes.get(name)
        return None if lane is None else lane.minutes.last(self._clock.now())

    # Tasks.

    def may_reach(self, queue_name: str, target: Target) -> bool:
        """Whether a task of this queue may have this target, by the settings' `reach`.

        What a host's addresses alone can tell is left to each push.
        """
        reach, lane = self._settings.reach, self._lanes.get(queue_name)
        if reach is None or lane is None:
            return True
        queue = lane.queue
        return reach.may_aim(aim(target, queue.http_overrides, queue.routing, self._settings.app_engine).url)

    async def create_tasks(
        self,
        queue_name: str,
        tasks: Sequence[NewTask],
        receipt: Callable[[list[Task | CreateRefused]], Document] | None = None,
    ) -> list[Task | CreateRefused]:
        """Create tasks in one durable write; one answer each, in order.

        `receipt` makes a document of the answers, which is saved in the same write. It is not called when there
        is no such queue, and it may run on another thread, more than once.
        """
        lane = self._lanes.get(queue_name)
        if lane is None:
            return [CreateRefused(RefusedReason.QUEUE_MISSING) for _ in tasks]
        now = self._clock.now()
        records = [self._new_record(lane, task, now) for task in tasks]

        def answer(refusals: list[RefusedReason | None]) -> list[Task | CreateRefused]:
            return [
                _new_task(record, queue_name, task) if refused is None else CreateRefused(refused)
                for task, record, refused in zip(tasks, records, refusals, strict=True)
            ]

        write = self._store.create(
            records, now, None if receipt is None else lambda refusals: receipt(answer(refusals))
        )
        return answer(await written(write, partial(self._created, records)))

    async def get_task(self, queue_name: str, task_name: str) -> Task | Missing:
        """The task as it stands; a queue that is missing has no tasks."""
        lane = self._lanes.get(queue_name)
        if lane is None:
            return Missing(False)
        now = self._clock.now()
        found = await self._store.find(lane.id, task_name, now)
        return self._missing(lane, task_name, found) if isinstance(found, Missing) else self._view(found, queue_name)

    async def list_tasks(self, queue_name: str, after: int, limit: int) -> list[Task]:
        """Up to `limit` tasks whose system id is above `after` (0: from the first), by system id."""
        lane = self._lanes.get(queue_name)
        if lane is None:
            return []
        return [self._view(record, queue_name) for record in await self._store.page(lane.id, after, limit)]

    def next_in_line(self, queue_name: str, limit: int) -> list[Task]:
        """Up to `limit` tasks: those that are being pushed, then those that wait, in the order of their turn.

        Only what is in memory is looked at, so there may be fewer than there are. A queue that is missing has none.
        """
        lane = self._lanes.get(queue_name)
        if lane is None:
            return []
        flights = [each for each in self._dispatcher.busy.values() if each.lane is lane and not each.dead]
        pushed = [each.record for each in flights if not each.over]
        records = [*pushed[:limit], *lane.next_in_line(max(0, limit - len(pushed)))]
        return [self._view(record, queue_name) for record in records]

    async def delete_tasks(
        self,
        queue_name: str,
        task_names: Sequence[str],
        receipt: Callable[[list[Missing | None]], Document] | None = None,
    ) -> list[Missing | None]:
        """Delete tasks in one durable write; one answer each, in order. A push under way is a task's last.

        `receipt` is what it is to `create_tasks`.
        """
        lane = self._lanes.get(queue_name)
        if lane is None:
            return [Missing(False) for _ in task_names]
        now = self._clock.now()

        def answer(deleted: list[int | Missing]) -> list[Missing | None]:
            return [
                self._missing(lane, name, found) if isinstance(found, Missing) else None
                for name, found in zip(task_names, deleted, strict=True)
            ]

        made = None if receipt is None else lambda deleted: receipt(answer(deleted))
        deletion = self._store.delete(lane.id, task_names, now + lane.queue.name_memory, now, made)
        return answer(await written(deletion, partial(self._deleted, lane)))

    async def run_task(self, queue_name: str, task_name: str) -> Task | Missing:
        """Push the task now, whatever its queue's state and rate; returns it as it is once the push has begun.

        A task that is being pushed already is pushed once more at once. The first push that succeeds ends it;
        when all fail, it waits from the end of the last, or from this call where that was its push.
        """
        lane = self._lanes.get(queue_name)
        if lane is None:
            return Missing(False)
        found = await self._store.find(lane.id, task_name, self._clock.now())
        if isinstance(found, Missing):
            return self._missing(lane, task_name, found)
        if not self._dispatcher.run(found):
            return Missing(True)
        return self._view(found, queue_name)

    # Deliveries.

    def deliveries(self, queue_name: str, task_name: str | None = None, limit: int = 100) -> list[DeliveryRecord]:
        """Up to `limit` of the last deliveries of a queue, or of one of its tasks, the last one first.

        They are kept in memory alone, within the bounds of the settings. A queue that is missing has none.
        """
        lane = self._lanes.get(queue_name)
        return [] if lane is None else self._dispatcher.history.list(lane.id, task_name, limit)

    def forget_deliveries(self, queue_name: str) -> None:
        """Keep nothing of the queue's deliveries so far."""
        lane = self._lanes.get(queue_name)
        if lane is not None:
            self._dispatcher.history.forget(lane.id)

    # What follows a durable write, in the order of the writes.

    def _opened(self, stored: StoredQueue) -> None:
        if stored.id in self._dispatcher.lanes:
            self._dispatcher.change_lane(stored)
        else:
            self._lanes[stored.queue.name] = self._dispatcher.open_lane(stored, is_new=True)

    def _changed(self, stored: StoredQueue | None) -> None:
        if stored is not None:
            self._dispatcher.change_lane(stored)

    def _purged(self, stored: StoredQueue | None) -> None:
        if stored is not None:
            self._dispatcher.purge_lane(stored)

    def _dropped(self, lane: Lane, _: None) -> None:
        if self._lanes.get(lane.queue.name) is lane:
            del self._lanes[lane.queue.name]
        self._dispatcher.close_lane(lane.id)

    def _created(self, records: list[Record], answers: list[RefusedReason | None]) -> None:
        self._dispatcher.admit([record for record, refused in zip(records, answers, strict=True) if refused is None])

    def _deleted(self, lane: Lane, deleted: list[int | Missing]) -> None:
        for task in deleted:
            if not isinstance(task, Missing):
                self._dispatcher.remove(lane.id, task)

    def _expire(self) -> None:
        now = self._clock.now()
        self._store.expire(now)
        self._expiry.set(now + _EXPIRY_PERIOD)

    # Between records and what is handed outside.

    def _new_record(self, lane: Lane, task: NewTask, now: float) -> Record:
        return Record(
            id=self._store.new_id(now),
            queue_id=lane.id,
            due=now if task.schedule_at is None else max(now, task.schedule_at),
            name=task.name,
            created_at=now,
            dispatch_deadline=task.dispatch_deadline,
            target=encode_target(task.target),
            body=task.target.body,
            retry=encode_retry(task.retry),
        )

    def _view(self, record: Record, queue: str) -> Task:
        flight = self._dispatcher.busy.get(record.id)
        under_way = 0
        if flight is not None and flight.pushes and not flight.over:
            record, under_way = flight.record, flight.pushes
        first_at, last = record.first_at, _last_attempt(record)
        if flight is not None and under_way:
            last = Attempt(flight.dispatched_at, record.due, None, None, "")
            first_at = flight.started_at if first_at is None else first_at
        return Task(
            id=record.id,
            queue=queue,
            name=task_name(record),
            target=decode_target(record.target, record.body),
            created_at=record.created_at,
            schedule_at=record.due,
            dispatch_deadline=record.dispatch_deadline,
            dispatch_count=record.dispatch_count + under_way,
            response_count=record.response_count,
            execution_count=record.execution_count,
            first_attempt=None if first_at is None else Attempt(first_at, record.created_at, None, None, ""),
            last_attempt=last,
            previous_response=record.previous,
            retry=decode_retry(record.retry),
        )

    def _missing(self, lane: Lane, name: str, missing: Missing) -> Missing:
        """Names that the engine gave are not kept; the time that such a name tells, to a second, stands for that."""
        if not missing.existed_recently and len(name) == 16 and name.isascii() and name.isdecimal():
            age = self._clock.now() - int(name) / 1e6
            return Missing(-1.0 < age < lane.queue.name_memory)
        return missing


def _last_attempt(record: Record) -> Attempt | None:
    if record.last_dispatched_at is None or record.last_scheduled_at is None:
        return None
    return Attempt(
        record.last_dispatched_at,
        record.last_scheduled_at,
        record.last_responded_at,
        record.last_status,
        record.last_error,
    )


def _new_task(record: Record, queue: str, task: NewTask) -> Task:
    return Task(
        record.id,
        queue,
        task_name(record),
        task.target,
        record.created_at,
        record.due,
        record.dispatch_deadline,
        dispatch_count=0,
        response_count=0,
        execution_count=0,
        first_attempt=None,
        last_attempt=None,
        previous_response=None,
        retry=task.retry,
    )
