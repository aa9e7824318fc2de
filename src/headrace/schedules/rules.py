"""When a schedule of App Engine comes: three rules, each a pure function of a time and a zone.

The rules give the times that Google's own code gives (recorded in `tests/vectors/groc.json`):
a wall time that the clocks skip does not come that day; one that they show twice comes twice.
"""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final, Protocol

from headrace.schedules.errors import ScheduleError
from headrace.schedules.zones import Zone

ALL_WEEKDAYS: Final = frozenset(range(7))
ALL_ORDINALS: Final = frozenset(range(1, 6))
ALL_MONTHS: Final = frozenset(range(1, 13))
ALL_DAYS: Final = frozenset(range(1, 32))

_DAY: Final = timedelta(days=1)

# The rarest schedule is a fifth weekday of February: up to 40 years apart. A wall time that daylight saving
# always skips exists again when the zone's rules end, in 2038. 120 years hold both, from 1970 on.
_YEARS_TO_SEARCH: Final = 120

# The rarest date of a range is a week ahead; two more weeks leave room for days that a zone skipped whole.
_DAYS_TO_SEARCH: Final = 21


class Rule(Protocol):
    """When to fire."""

    def next_after(self, start: datetime, zone: Zone) -> datetime:
        """The first time strictly after `start`; both aware, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class SpecificTime:
    """One wall time on chosen dates. A date is chosen when month, day, weekday and ordinal all are.

    Weekdays count from Monday, 0; the ordinal of a date is 1 on days 1 to 7, 2 on days 8 to 14, up to 5.
    """

    at: time
    months: frozenset[int] = ALL_MONTHS
    days: frozenset[int] = ALL_DAYS
    weekdays: frozenset[int] = ALL_WEEKDAYS
    ordinals: frozenset[int] = ALL_ORDINALS

    def next_after(self, start: datetime, zone: Zone) -> datetime:
        # Clocks that go back over midnight show yesterday's date again.
        for day in self._dates(zone.wall(start).date() - _DAY):
            for instant in zone.instants(datetime.combine(day, self.at)):
                if instant > start:
                    return instant
        raise ScheduleError(f"No time within {_YEARS_TO_SEARCH} years after {start.isoformat()}.")

    def _dates(self, since: date) -> Iterator[date]:
        for year in range(since.year, since.year + _YEARS_TO_SEARCH):
            for month in sorted(self.months):
                if (year, month) < (since.year, since.month):
                    continue
                length = calendar.monthrange(year, month)[1]
                for day in sorted(self.days):
                    if day <= length and (found := date(year, month, day)) >= since and self._chosen(found):
                        yield found

    def _chosen(self, day: date) -> bool:
        return day.weekday() in self.weekdays and (day.day + 6) // 7 in self.ordinals


@dataclass(frozen=True, slots=True)
class Interval:
    """A period after the last time, whole minutes; on chosen weekdays of the zone."""

    period: timedelta
    weekdays: frozenset[int] = ALL_WEEKDAYS

    def next_after(self, start: datetime, zone: Zone) -> datetime:
        instant = start.replace(second=0, microsecond=0) + self.period
        while (wall := zone.wall(instant)).weekday() not in self.weekdays:
            tomorrow = zone.first_instant(datetime.combine(wall.date() + _DAY, time()))
            instant += self.period * max(1, -((instant - tomorrow) // self.period))
        return instant


@dataclass(frozen=True, slots=True)
class DailyRange:
    """Every period from one wall time to another, the end included; it starts afresh each day.

    When `last` is before `first` the range goes on over midnight. A first or last minute that the clocks
    skip moves to the next one that they show; one that they show twice is the first of the two. The weekday
    is that of the time itself, also in the hours after midnight.
    """

    period: timedelta
    first: time
    last: time
    weekdays: frozenset[int] = ALL_WEEKDAYS

    def next_after(self, start: datetime, zone: Zone) -> datetime:
        yesterday = zone.wall(start).date() - _DAY
        for ahead in range(_DAYS_TO_SEARCH):
            for instant in self._times(yesterday + ahead * _DAY, start, zone):
                if zone.wall(instant).weekday() in self.weekdays:
                    return instant
        raise ScheduleError(f"No time within {_DAYS_TO_SEARCH} days after {start.isoformat()}.")

    def _times(self, day: date, start: datetime, zone: Zone) -> Iterator[datetime]:
        """The times after `start` of the range that begins on `day`."""
        first = zone.first_instant(datetime.combine(day, self.first))
        last_day = day if self.first <= self.last else day + _DAY
        last = zone.first_instant(datetime.combine(last_day, self.last))
        instant = first if start < first else first + self.period * ((start - first) // self.period + 1)
        while instant <= last:
            yield instant
            instant += self.period
