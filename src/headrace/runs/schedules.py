"""Schedules as an operator sees and changes them. Every change is audited in its own transaction."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from headrace.contract.operations import Contract, Missed
from headrace.database import Database, audit_rows, run_rows, schedule_rows
from headrace.database.schedule_rows import ScheduleRow
from headrace.errors import BadRequest, Forbidden, NotFound, WrongState
from headrace.runs.firings import Firings
from headrace.runs.starting import Origin
from headrace.runs.timetable import Entry, canonical, edited, in_force
from headrace.schedules import ScheduleError, TimezoneError

TIMES_SHOWN = 5
_EDITABLE = ("schedule", "timezone", "missed")


@dataclass(frozen=True, slots=True)
class Schedules:
    """The entries of cron.yaml that start jobs. Urls are as cron.yaml has them.

    Every method that takes one raises NotFound where cron.yaml does not have it, and Forbidden where it starts no
    job: sweeps are the product's own.
    """

    firings: Firings
    contract: Contract

    def list(self) -> list[dict[str, Any]]:
        """All, with what is in force, what the file says, the next times and the last firing."""
        with self._database.read() as connection:
            rows = schedule_rows.list_schedules(connection)
            return [self._shown(connection, entry, rows.get(entry.url)) for entry in self.firings.entries.values()]

    def edit(self, url: str, changes: Mapping[str, str | None], *, actor: str) -> dict[str, Any]:
        """Set `schedule`, `timezone` or `missed` over the files; None clears. The schedule as it stands then.

        The next time is found anew, from now on. Raises BadRequest for what is no schedule, zone or policy.
        """
        entry = self._entry(url)

        def change(row: ScheduleRow) -> ScheduleRow:
            changed = replace(
                row,
                schedule=changes.get("schedule", row.schedule),
                timezone=changes.get("timezone", row.timezone),
                missed=changes.get("missed", row.missed),
            )
            _check(entry, changed)
            table = in_force(entry, changed)
            if table.timing == row.timing:
                return changed
            return replace(changed, next_at=table.next_after(self.firings.now()), timing=table.timing, late_since=None)

        return self._change(entry, "edit_schedule", change, actor)

    def pause(self, url: str, *, actor: str) -> dict[str, Any]:
        """Fire no more, until it is resumed. Raises WrongState where it is paused already."""

        def change(row: ScheduleRow) -> ScheduleRow:
            if row.paused:
                raise WrongState(f"The schedule of {url} is paused already.")
            return replace(row, paused=True, late_since=None)

        return self._change(self._entry(url), "pause_schedule", change, actor)

    def resume(self, url: str, *, actor: str) -> dict[str, Any]:
        """Fire again from the next time on; what was paused is not made up for. Raises WrongState: not paused."""
        entry = self._entry(url)

        def change(row: ScheduleRow) -> ScheduleRow:
            if not row.paused:
                raise WrongState(f"The schedule of {url} is not paused.")
            table = in_force(entry, row)
            return replace(row, paused=False, next_at=table.next_after(self.firings.now()), timing=table.timing)

        return self._change(entry, "resume_schedule", change, actor)

    def send(self, url: str, *, actor: str) -> str:
        """Start a run of the job now, also while the schedule is paused, whose times stay as they are; the run's id."""
        entry = self._entry(url)
        parameters = self.firings.read_url(entry.operation, entry.url)
        with self._database.write() as connection:
            row = self.firings.take(connection, entry)
            opened = self.firings.starter.start_later(
                connection, entry.operation, parameters, Origin(schedule=entry.url)
            )
            schedule_rows.save_schedule(connection, replace(row, last_run_id=opened.run_id))
            self._record(connection, entry, "send_schedule", actor, None, opened.run_id)
        return opened.run_id

    def _entry(self, url: str) -> Entry:
        entry = self.firings.entries.get(canonical(url))
        if entry is not None:
            return entry
        if canonical(url) in {canonical(cron.url) for cron in self.contract.crons}:
            raise Forbidden(f"{url} starts no job: its schedule is cron.yaml's alone.")
        raise NotFound(f"cron.yaml has no entry for {url}.", hint="GET /api/v1/schedules lists the schedules.")

    def _change(
        self, entry: Entry, action: str, change: Callable[[ScheduleRow], ScheduleRow], actor: str
    ) -> dict[str, Any]:
        with self._database.write() as connection:
            row = self.firings.take(connection, entry)
            changed = change(row)
            schedule_rows.save_schedule(connection, changed)
            self._record(connection, entry, action, actor, _audited(row), _audited(changed))
            return self._shown(connection, entry, changed)

    def _record(self, connection: Connection, entry: Entry, action: str, actor: str, old: str | None, new: str) -> None:
        object = f"schedule/{entry.url}"
        audit_rows.record(
            connection, at=self.firings.now(), actor=actor, action=action, object=object, old=old, new=new
        )

    def _shown(self, connection: Connection, entry: Entry, row: ScheduleRow | None) -> dict[str, Any]:
        now = self.firings.now()
        table, file = in_force(entry, row), in_force(entry, None)
        last = None if row is None or row.last_run_id is None else run_rows.state_of(connection, row.last_run_id)
        times = []
        if row is None or not row.paused:
            known = row is not None and row.timing == table.timing and row.next_at > now
            times.append(row.next_at if row is not None and known else table.next_after(now))
            while len(times) < TIMES_SHOWN:
                times.append(table.next_after(times[-1]))
        return {
            "url": entry.url,
            "job": entry.operation.operation_id,
            "schedule": table.text,
            "timezone": table.timezone,
            "missed": table.missed.value,
            "file": {"schedule": file.text, "timezone": file.timezone, "missed": file.missed.value},
            "edited": table.edited or table.missed is not file.missed,
            "state": _state(row, late=row is not None and table.is_late(row, now)),
            "next": [_time(at) for at in times],
            "last_at": None if row is None else _time(row.last_at),
            "last_run": None if row is None or last is None else {"run_id": row.last_run_id, "state": last.value},
        }

    @property
    def _database(self) -> Database:
        return self.firings.starter.database


def _check(entry: Entry, row: ScheduleRow) -> None:
    try:
        edited(entry, row.schedule, row.timezone)
    except TimezoneError as error:
        raise BadRequest(str(error), pointer="/timezone") from error
    except ScheduleError as error:
        raise BadRequest(str(error), pointer="/schedule") from error
    if row.missed is not None and row.missed not in set(Missed):
        raise BadRequest(f"missed is one of {', '.join(Missed)}.", pointer="/missed")


def _state(row: ScheduleRow | None, *, late: bool) -> str:
    if row is not None and row.paused:
        return "paused"
    return "late" if late else "active"


def _audited(row: ScheduleRow) -> str:
    return json.dumps({name: value for name, value in asdict(row).items() if name in (*_EDITABLE, "paused")})


def _time(at: int | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
