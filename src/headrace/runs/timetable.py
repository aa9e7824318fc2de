"""When a job is to start by itself: the times of a url, and what is to be done about those that have come. Pure.

Times are epoch milliseconds.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from headrace.config.crons import CronEntry
from headrace.contract.operations import Contract, Kind, Missed, Operation
from headrace.database.schedule_rows import ScheduleRow
from headrace.schedules import Schedule, parse_schedule

MOST_CAUGHT_UP = 24
"""How many missed firings `missed: all` makes up for; of more, the latest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A url of cron.yaml that starts a job; it may have several schedules there."""

    url: str
    operation: Operation
    schedules: tuple[Schedule, ...]


@dataclass(frozen=True, slots=True)
class Timetable:
    """The schedules of a url that are in force: those of the file, or an operator's where it is `edited`.

    `late_after` is in milliseconds.
    """

    schedules: tuple[Schedule, ...]
    edited: bool
    missed: Missed
    late_after: int

    @property
    def timing(self) -> str:
        """The schedules as text: the same for the same times."""
        return _joined(f"{schedule.text} {schedule.timezone}" for schedule in self.schedules)

    @property
    def text(self) -> str:
        """The schedules, without their zones."""
        return _joined(schedule.text for schedule in self.schedules)

    @property
    def timezone(self) -> str:
        """The zones of the schedules."""
        return _joined(schedule.timezone for schedule in self.schedules)

    def next_after(self, at: int) -> int:
        """The first time after `at`."""
        start = datetime.fromtimestamp(at / 1000, UTC)
        return min(int(schedule.next_after(start).timestamp() * 1000) for schedule in self.schedules)

    def is_late(self, row: ScheduleRow, now: int) -> bool:
        """Whether a firing should have come, and has not."""
        return not row.paused and (row.late_since is not None or now > row.next_at + self.late_after)


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done about a url: firings to make, the oldest first, and how its row is to stand then.

    `passed` counts the times that are let go without a firing.
    """

    fires: tuple[int, ...]
    next_at: int
    late_since: int | None
    passed: int = 0


def entries_of(contract: Contract) -> dict[str, Entry]:
    """The entries of cron.yaml that start jobs, by `canonical` url."""
    jobs = {each.path: each for each in contract.operations if each.kind is Kind.JOB and each.method.lower() == "get"}
    by_url: dict[str, list[CronEntry]] = {}
    for cron in contract.crons:
        if urlsplit(cron.url).path in jobs:
            by_url.setdefault(canonical(cron.url), []).append(cron)
    return {
        url: Entry(
            crons[0].url,
            jobs[urlsplit(url).path],
            tuple(parse_schedule(cron.schedule, cron.timezone) for cron in crons),
        )
        for url, crons in by_url.items()
    }


def canonical(url: str) -> str:
    """One spelling of the urls that say the same: parameters in order."""
    parts = urlsplit(url)
    query = "&".join(f"{name}={value}" for name, value in sorted(parse_qsl(parts.query, keep_blank_values=True)))
    return f"{parts.path}?{query}"


def in_force(entry: Entry, row: ScheduleRow | None) -> Timetable:
    """What the file says, with what an operator set over it."""
    assert entry.operation.job is not None
    edits = row is not None and (row.schedule is not None or row.timezone is not None)
    schedules = edited(entry, row.schedule, row.timezone) if row is not None and edits else entry.schedules
    missed = entry.operation.job.missed if row is None or row.missed is None else Missed(row.missed)
    return Timetable(schedules, edits, missed, int(entry.operation.job.late_after * 1000))


def edited(entry: Entry, schedule: str | None, timezone: str | None) -> tuple[Schedule, ...]:
    """The entry's schedules with another text, another zone, or both. Raises ScheduleError and TimezoneError."""
    made = [parse_schedule(schedule or each.text, timezone or each.timezone) for each in entry.schedules]
    return tuple({(each.text, each.timezone): each for each in made}.values())


def find_due(table: Timetable, row: ScheduleRow, *, grace: int, now: int) -> Due:
    """What is to be done about a url that is not paused.

    By the file's schedules an external scheduler calls: only what it did not do within `grace` milliseconds is
    missed. An operator's own schedules nobody else knows: what is due is fired, and missed is what is older than
    `grace`. Of missed times, `skip` fires none, `one` the latest, `all` each. Those of `skip` are let go once they
    are late, so that it is seen that nothing came.
    """
    if row.timing != table.timing:
        return Due((), table.next_after(now), None)
    until = now if table.edited else now - grace
    if row.next_at > until:
        return Due((), row.next_at, row.late_since)
    latest, count = _times(table, row.next_at, until)
    late_since = row.next_at if row.late_since is None and now > row.next_at + table.late_after else row.late_since
    match table.missed:
        case Missed.ALL:
            fires = latest
        case Missed.ONE:
            fires = latest[-1:]
        case Missed.SKIP:
            fires = latest[-1:] if latest[-1] > now - grace else ()
            if not fires and late_since is None:
                return Due((), row.next_at, None)
    return Due(fires, table.next_after(latest[-1]), late_since, count - len(fires))


def _times(table: Timetable, first: int, until: int) -> tuple[tuple[int, ...], int]:
    """The latest times from `first` to `until`, and how many there are in all."""
    latest: deque[int] = deque(maxlen=MOST_CAUGHT_UP)
    count, at = 0, first
    while at <= until:
        latest.append(at)
        count, at = count + 1, table.next_after(at)
    return tuple(latest), count


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
