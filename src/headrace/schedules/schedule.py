"""A schedule: a text in one of two languages, a time zone, and the times that follow."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from headrace.schedules.appengine import parse_appengine
from headrace.schedules.errors import ScheduleError
from headrace.schedules.rules import Rule
from headrace.schedules.unixcron import UnixCron, looks_like_unix_cron, parse_unix_cron
from headrace.schedules.zones import Zone, find_zone

# A search may look 120 years ahead, and datetime ends with the year 9999.
_FIRST_YEAR: Final = 1900
_LAST_YEAR: Final = 9800


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job starts by itself. Made by `parse_schedule`; equal texts in one zone are equal."""

    text: str
    zone: Zone
    rule: Rule

    @property
    def timezone(self) -> str:
        """The IANA name of the zone."""
        return self.zone.name

    @property
    def words(self) -> str:
        """When it starts, in words; App Engine's grammar is words already."""
        return self.rule.words if isinstance(self.rule, UnixCron) else self.text

    def next_after(self, start: datetime) -> datetime:
        """The first time strictly after `start`, in UTC. `start` is aware.

        For a plain interval (`every 5 minutes`) `start` is what the interval counts from.
        Raises ScheduleError when `start` is outside the years 1900 to 9800; ValueError when it is naive.
        """
        if start.tzinfo is None:
            raise ValueError(f"start has no time zone: {start.isoformat()}")
        if not _FIRST_YEAR <= start.year <= _LAST_YEAR:
            raise ScheduleError(f"A start must be in the years {_FIRST_YEAR} to {_LAST_YEAR}.")
        return self.rule.next_after(start.astimezone(UTC), self.zone)

    def times(self, start: datetime, count: int) -> list[datetime]:
        """The first `count` times after `start`, each the next after the one before."""
        found: list[datetime] = []
        for _ in range(count):
            start = self.next_after(start)
            found.append(start)
        return found


def parse_schedule(text: str, timezone: str = "UTC") -> Schedule:
    """The schedule of a text in App Engine's grammar or in unix-cron, in an IANA time zone.

    Raises ScheduleError for the text and TimezoneError for the zone. What this accepts always has a next
    time: dates that no year has are refused here.
    """
    zone = find_zone(timezone)
    rule: Rule = parse_unix_cron(text) if looks_like_unix_cron(text) else parse_appengine(text)
    return Schedule(text, zone, rule)
