"""Firings: a job starts by itself, once for each time of its schedule.

The service decides what is due; schedulers outside are ticks. The claim of a time and the run that it starts are one
transaction, so however many tick or sweep at once, and whoever dies in between, a time has one run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Connection

from headrace.contract.operations import Missed, Operation
from headrace.database import schedule_rows
from headrace.database.schedule_rows import ScheduleRow
from headrace.runs.starting import JobStarter, Opened, Origin, RunAnswer
from headrace.runs.timetable import Due, Entry, canonical, find_due, in_force

_log = structlog.get_logger(__name__)

ReadUrl = Callable[[Operation, str], dict[str, Any]]
"""The parameters of a job from the path and query of its endpoint. Raises BadRequest."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a job's endpoint: its path and query, and the time for which a scheduler makes it, in epoch seconds.

    Without a time it is a person's. `scheduler` is the name that the scheduler has for its job, "" where it gives none.
    """

    url: str
    scheduled_at: float | None = None
    scheduler: str = ""


@dataclass(frozen=True, slots=True)
class Firings:
    """Fires the entries of cron.yaml that start jobs, given by `canonical` url."""

    starter: JobStarter
    entries: Mapping[str, Entry]
    read_url: ReadUrl

    def call(self, operation: Operation, parameters: dict[str, Any], call: Call) -> RunAnswer | None:
        """Answer a call of a job's endpoint: with the run that it starts or that its firing started before.

        A person's call always starts. A scheduler's starts nothing, and the run says so, where the schedule is
        paused or a later firing came first; where an operator set another schedule, only what is due by that is
        fired, and None is that nothing was. Raises as `JobStarter.start`.
        """
        if call.scheduled_at is None:
            return self.starter.start(operation, parameters)
        at = round(call.scheduled_at * 1000)
        entry = self.entries.get(canonical(call.url))
        if entry is None:
            return self.starter.start(operation, parameters, f"{call.scheduler or operation.operation_id}@{_text(at)}")
        with self.starter.database.write() as connection:
            opened = self._tick(connection, entry, parameters, at)
        return None if opened is None else self.starter.split(operation, parameters, opened)

    def is_due(self, entry: Entry, row: ScheduleRow | None) -> bool:
        """Whether `fire_due` has something to do, or to note, by a row that may be old."""
        return row is None or (not row.paused and self._after(row, self._due(entry, row), entry) != row)

    def fire_due(self, entry: Entry) -> int:
        """Fire what is due by an operator's schedule, and what a scheduler missed by the file's; how many times.

        Raises BadRequest when the url breaks the schema of the job's parameters.
        """
        parameters = self.read_url(entry.operation, entry.url)
        with self.starter.database.write() as connection:
            row = self.take(connection, entry)
            return 0 if row.paused else len(self._fire_due(connection, entry, row, parameters))

    def take(self, connection: Connection, entry: Entry) -> ScheduleRow:
        """The row of an entry, made when it is first seen; nobody else takes it until the transaction ends."""
        row = schedule_rows.take_schedule(connection, entry.url)
        if row is not None:
            return row
        table, now = in_force(entry, None), self.now()
        return schedule_rows.insert_schedule(
            connection, entry.url, next_at=table.next_after(now), timing=table.timing, now=now
        )

    def now(self) -> int:
        """Epoch milliseconds."""
        return int(self.starter.clock.now() * 1000)

    def _tick(self, connection: Connection, entry: Entry, parameters: dict[str, Any], at: int) -> Opened | None:
        row = self.take(connection, entry)
        table = in_force(entry, row)
        if table.edited:
            fired = [] if row.paused else self._fire_due(connection, entry, row, parameters)
            # A task of its own splits it.
            return replace(fired[-1], new=False) if fired else None
        origin = _origin(entry, at)
        seen = self.starter.seen(connection, origin.firing_key or "")
        if seen is not None:
            return seen
        if row.paused:
            return self.starter.skip(connection, entry.operation, parameters, origin, "The schedule is paused.")
        if row.last_at is not None and at <= row.last_at:
            reason = f"The firing of {_text(row.last_at)} came before this one of {_text(at)}."
            return self.starter.skip(connection, entry.operation, parameters, origin, reason)
        opened = self.starter.open(connection, entry.operation, parameters, origin)
        next_at = table.next_after(at)
        if row.timing == table.timing:
            next_at = max(next_at, row.next_at)
        row = replace(row, next_at=next_at, timing=table.timing)
        schedule_rows.save_schedule(connection, _fired(row, at, opened))
        return opened

    def _fire_due(
        self, connection: Connection, entry: Entry, row: ScheduleRow, parameters: dict[str, Any]
    ) -> list[Opened]:
        table, due = in_force(entry, row), self._due(entry, row)
        if due.passed:
            _log.warning("firings missed", url=row.url, passed=due.passed, fired=len(due.fires), policy=table.missed)
        if due.late_since is not None and row.late_since is None:
            _log.error("schedule is late", url=row.url, since=_text(due.late_since))
        after, opened = self._after(row, due, entry), []
        missed_until = self.now() - self._grace
        for at in due.fires:
            waits = table.missed is Missed.ALL and at <= missed_until
            opened.append(
                self.starter.start_later(connection, entry.operation, parameters, _origin(entry, at), waits=waits)
            )
            after = _fired(after, at, opened[-1])
        if after != row:
            schedule_rows.save_schedule(connection, after)
        return opened

    def _due(self, entry: Entry, row: ScheduleRow) -> Due:
        return find_due(in_force(entry, row), row, grace=self._grace, now=self.now())

    def _after(self, row: ScheduleRow, due: Due, entry: Entry) -> ScheduleRow:
        return replace(row, next_at=due.next_at, timing=in_force(entry, row).timing, late_since=due.late_since)

    @property
    def _grace(self) -> int:
        return int(self.starter.policy.missed_after * 1000)


def _origin(entry: Entry, at: int) -> Origin:
    return Origin(f"{entry.url}@{_text(at)}", schedule=entry.url, scheduled_at=at)


def _fired(row: ScheduleRow, at: int, opened: Opened) -> ScheduleRow:
    if row.late_since is not None:
        _log.info("schedule fires again", url=row.url, late_since=_text(row.late_since))
    return replace(row, last_at=at, last_run_id=opened.run_id, late_since=None)


def _text(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z")
