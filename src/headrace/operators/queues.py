"""Queues as operators see and steer them: what the queue itself tells, and what the service's own rows tell."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.contract.operations import Contract, QueueOptions
from headrace.database import Database, audit_rows, backlog_rows, minute_rows
from headrace.database.backlog_rows import GLIMPSED, Backlog, count_in, count_waiting, waits_since
from headrace.database.minute_rows import MinuteRow
from headrace.database.states import BatchState
from headrace.drivers.queues import LIMITS, QueueControl, QueueControls, QueueLimits, QueueStatus
from headrace.errors import BadRequest, DriverError, HeadraceError, NotFound, Unreachable, WrongState
from headrace.operators.queue_purging import Purged, QueuePurging
from headrace.operators.queued_tasks import PER_PAGE, show_delivery, show_task
from headrace.operators.situation import MINUTE, SHOWN, chart
from headrace.runs.queue_limits import (
    QueueOverride,
    check_limits,
    file_limits,
    find_queue_override,
    list_queue_overrides,
    lock_queue_override,
    write_queue_override,
)
from headrace.runs.queue_loads import QueueLoads

UNKNOWN = "unknown"
"""The state of a queue that cannot be asked."""
PURGE_TIME = 20.0
"""Seconds for which a purge ends what waits, in one request."""
RATE_MINUTES = 5
"""Minutes over which a rate is told."""
_NO_CAP = {"max_pending": None, "when_full": None, "outstanding": None, "pending": None}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the database tells of all queues at a moment, in epoch milliseconds."""

    now: int
    backlog: Sequence[Backlog]
    outstanding: Mapping[str, int]
    minutes: Sequence[MinuteRow]
    overrides: Mapping[str, QueueOverride]
    loads: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of queue.yaml. A change is audited with its actor when it was made.

    Every change raises NotFound where queue.yaml, or what carries the queue, has no such queue, and Unreachable where
    it cannot be asked: then nothing was changed. `limited` is called when this process has changed limits.
    """

    database: Database
    contract: Contract
    clock: Clock
    controls: QueueControls
    loads: QueueLoads
    purging: QueuePurging
    limited: Callable[[], object]

    def list(self) -> Sequence[dict[str, Any]]:
        """All queues, in the order of queue.yaml: see `show`. One question to each driver, of about two seconds."""
        statuses = self.controls.list()
        rows = self._read()
        return [self._row(options, statuses.get(options.name), rows) for options in self.contract.queues.values()]

    def show(self, queue: str) -> dict[str, Any]:
        """One queue, with the first tasks on it and its last deliveries.

        `state` is "unknown", and `limits` are None, where the queue cannot be asked. `waiting` and `running` count the
        service's batches; `oldest_age` is in seconds, since the first of those that wait was due. `rate_out` is how
        many ended a second in the last five minutes. `declared` is what the file says where other limits are in
        force. The cap of x-queues, and how full it is, is None where there is none. `tasks` and `deliveries` are None
        where nobody tells them. Raises NotFound.
        """
        options = self._options(queue)
        status: QueueStatus | None = None
        tasks: Sequence[dict[str, Any]] | None = None
        deliveries: Sequence[dict[str, Any]] | None = None
        try:
            control = self.controls.of(queue)[0]
            status = control.show(queue)
            if status is not None:
                tasks = [show_task(each) for each in control.tasks(queue, limit=PER_PAGE)[0]]
                told = control.deliveries(queue, limit=PER_PAGE)
                deliveries = None if told is None else [show_delivery(each) for each in told]
        except (DriverError, NotFound, BadRequest, WrongState):
            status = None
        return {**self._row(options, status, self._read()), "tasks": tasks, "deliveries": deliveries}

    def pause(self, queue: str, *, actor: str) -> None:
        """Have the queue push nothing by itself; tasks may still be created."""
        self._steer(queue, "pause_queue", actor, lambda control: control.pause(queue, actor=actor))

    def resume(self, queue: str, *, actor: str) -> None:
        """Have it push again."""
        self._steer(queue, "resume_queue", actor, lambda control: control.resume(queue, actor=actor))

    def purge(self, queue: str, *, actor: str) -> Purged:
        """End what waits for the queue as cancelled, and empty the queue; how many batches.

        Where there are `more` than `PURGE_TIME` is enough for, the queue is not emptied: ask again. What an attempt
        holds goes on. Where the queue fails in between, what it still has is delivered without work.
        """
        self._options(queue)
        with asking(queue):
            controls = self.controls.of(queue)
            for control in controls:
                _require(control.show(queue), queue)
            purged = self.purging.end_waiting(queue, actor=actor, until=self.clock.now() + PURGE_TIME)
            if purged.more:
                return purged
            for control in controls:
                control.purge(queue, actor=actor)
        self.purging.mark_emptied(queue)
        self.purging.refill(queue)
        return purged

    def file_limits(self, queue: str) -> dict[str, float]:
        """What queue.yaml says, by the names of `LIMITS`. Raises NotFound."""
        return file_limits(self._options(queue)).values()

    def limit(self, queue: str, changes: Mapping[str, float | None] | None, *, actor: str) -> None:
        """Set limits over the file's, in force at once and until they are cleared; None gives the queue back to it.

        `changes` are by the names of `LIMITS`, seconds and counts; those that were set before stay, and None as a
        value gives one back. Raises BadRequest for what is no limit, or more than a queue may have.
        """
        options = self._options(queue)
        with asking(queue):
            controls = self.controls.of(queue)
            for control in controls:
                _require(control.show(queue), queue)
        # The row first: what dies or comes in between is mended by the sweep, which goes by it.
        with self.database.write() as connection:
            before, wanted = self._change(connection, options, changes, controls, actor)
        try:
            with asking(queue):
                self._put_in_force(options, controls, actor)
        except HeadraceError:
            with self.database.write() as connection:
                lock_queue_override(connection, queue)
                if _changes(find_queue_override(connection, queue)) == wanted:
                    write_queue_override(connection, queue, before or None, now=self._now(), actor=actor)
            raise
        finally:
            self.limited()

    def keep_limits(self) -> int:
        """Give queues whose limits are not those of their override these again; how many. Asks no other queue."""
        with self.database.read() as connection:
            overrides = list_queue_overrides(connection)
        kept = 0
        for queue, override in overrides.items():
            options = self.contract.queues.get(queue)
            if options is None:
                continue
            try:
                for control in self.controls.of(queue):
                    status = control.show(queue)
                    if status is not None and not _holds(override.over(file_limits(options)), status, control):
                        self._put_in_force(options, [control], override.set_by)
                        kept += 1
            except (DriverError, NotFound, BadRequest, WrongState) as error:
                _log.warning("limits of a queue were not put in force", queue=queue, error=str(error))
        return kept

    def _change(
        self,
        connection: Connection,
        options: QueueOptions,
        changes: Mapping[str, float | None] | None,
        controls: Sequence[QueueControl],
        actor: str,
    ) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Write what stands over the file then; what stood there, and what does. Raises BadRequest."""
        lock_queue_override(connection, options.name)
        before = _changes(find_queue_override(connection, options.name))
        wanted = _merge(before, changes)
        check_limits(file_limits(options).changed(wanted), wanted)
        for name in wanted:
            if any(name not in control.adjustable for control in controls):
                raise BadRequest(f"{name} cannot be set here: Cloud Tasks picks it itself.", pointer=f"/{name}")
        write_queue_override(connection, options.name, wanted or None, now=self._now(), actor=actor)
        return before, wanted

    def _put_in_force(self, options: QueueOptions, controls: Sequence[QueueControl], actor: str) -> None:
        """Have a queue keep to what stands over its file; once more where that was changed meanwhile."""
        stands = self._override(options.name)
        while True:
            override = stands
            for control in controls:
                if override is None:
                    _give_back(control, options, actor)
                else:
                    control.limit(options.name, override.over(file_limits(options)), actor=override.set_by)
            stands = self._override(options.name)
            if stands == override:
                return

    def _override(self, queue: str) -> QueueOverride | None:
        with self.database.read() as connection:
            return find_queue_override(connection, queue)

    def _steer(self, queue: str, action: str, actor: str, steer: Callable[[QueueControl], None]) -> None:
        self._options(queue)
        with asking(queue):
            for control in self.controls.of(queue):
                steer(control)
        with self.database.write() as connection:
            audit_rows.record(connection, at=self._now(), actor=actor, action=action, object=f"queue/{queue}")

    def _options(self, queue: str) -> QueueOptions:
        options = self.contract.queues.get(queue)
        if options is None:
            raise NotFound(f"queue.yaml has no queue {queue}.", hint="GET /api/v1/queues lists them.")
        return options

    def _read(self) -> _Rows:
        now, loads = self._now(), {load["queue"]: load for load in self.loads.list()}
        with self.database.read() as connection:
            return _Rows(
                now,
                backlog_rows.read_backlog(connection, now=now, at_most=GLIMPSED),
                backlog_rows.outstanding_by_handler(connection),
                minute_rows.list_minutes(connection, since=_first_minute(now)),
                list_queue_overrides(connection),
                loads,
            )

    def _row(self, options: QueueOptions, status: QueueStatus | None, rows: _Rows) -> dict[str, Any]:
        handlers = self.purging.handlers_of(options.name)
        backlog = [each for each in rows.backlog if each.handler in handlers]
        minutes = [each for each in rows.minutes if each.handler in handlers]
        override = rows.overrides.get(options.name)
        return {
            **rows.loads.get(options.name, _NO_CAP),
            "queue": options.name,
            **_told(status, override, options),
            "waiting": sum(count_waiting(handler, rows.backlog, rows.outstanding) for handler in handlers),
            "running": count_in(backlog, BatchState.RUNNING),
            "oldest_age": _oldest_age(backlog, rows.now),
            "rate_out": _rate_out(minutes, rows.now),
            "chart": chart(minutes, _first_minute(rows.now)),
        }

    def _now(self) -> int:
        return int(self.clock.now() * 1000)


@contextmanager
def asking(queue: str) -> Iterator[None]:
    """Tell who asked that a queue gives no answer. Raises Unreachable."""
    try:
        yield
    except DriverError as error:
        raise Unreachable(f"The queue {queue} gives no answer. {error.message}", hint=error.hint) from error


def _require(status: QueueStatus | None, queue: str) -> None:
    if status is None:
        raise NotFound(f"What carries the queue {queue} does not have it.", hint="Deploy queue.yaml.")


def _give_back(control: QueueControl, options: QueueOptions, actor: str) -> None:
    try:
        control.limit(options.name, None, actor=actor)
    except WrongState:
        # What carries it knows no file: then the limits of ours are set.
        control.limit(options.name, file_limits(options), actor=actor)


def _merge(before: Mapping[str, float], changes: Mapping[str, float | None] | None) -> dict[str, float]:
    """The limits that stand over the file then. Pure; raises BadRequest for what is no limit."""
    if changes is None:
        return {}
    for name in changes:
        if name not in LIMITS:
            raise BadRequest(
                f"{name} is no limit of a queue.", pointer=f"/{name}", hint=f"There are {', '.join(LIMITS)}."
            )
    merged = {**before, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def _holds(limits: QueueLimits, status: QueueStatus, control: QueueControl) -> bool:
    """Whether all limits are in force that can be set. Durations may have come back rounded to a microsecond. Pure."""
    in_force = status.limits.values()
    wanted = {name: value for name, value in limits.values().items() if name in control.adjustable}
    return all(math.isclose(in_force[name], value, rel_tol=1e-9, abs_tol=1e-6) for name, value in wanted.items())


def _changes(override: QueueOverride | None) -> Mapping[str, float]:
    return {} if override is None else override.changes


def _told(status: QueueStatus | None, override: QueueOverride | None, options: QueueOptions) -> dict[str, Any]:
    """What the queue itself tells; what an operator set here is shown beside the file's. Pure."""
    set_by = override.set_by if override is not None else status.set_by if status is not None else None
    declared = None if status is None else status.declared
    if override is not None and declared is None:
        declared = file_limits(options)
    return {
        "state": UNKNOWN if status is None else status.state.value,
        "limits": None if status is None else status.limits.values(),
        "declared": None if declared is None else declared.values(),
        "set_by": set_by,
        "overridden": [] if override is None else sorted(override.changes),
    }


def _oldest_age(backlog: Sequence[Backlog], now: int) -> float | None:
    since = waits_since(backlog)
    return None if since is None else max(0.0, (now - since) / 1000)


def _rate_out(minutes: Sequence[MinuteRow], now: int) -> float:
    recent = [row for row in minutes if row.minute > now - RATE_MINUTES * MINUTE]
    return sum(row.done + row.dead for row in recent) / (RATE_MINUTES * 60)


def _first_minute(now: int) -> int:
    return now // MINUTE * MINUTE - (SHOWN - 1) * MINUTE
