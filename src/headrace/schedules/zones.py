"""Time zones: a name to an IANA zone, and wall time to instants and back.

Instants are aware datetimes in UTC; wall times are naive datetimes in the zone.
"""

import difflib
import functools
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from headrace.schedules.errors import TimezoneError

_DAY: Final = timedelta(days=1)
_MINUTE: Final = timedelta(minutes=1)

# The zone tables that App Engine's own schedule code reads end with the year 2037.
_LAST_KNOWN: Final = datetime(2037, 12, 31, tzinfo=UTC)

# In the system's folder of zones, but no places: the machine's own zone, and "not set".
_NOT_ZONES: Final = frozenset({"localtime", "Factory"})


@dataclass(frozen=True, slots=True)
class Zone:
    """One IANA zone, with the wall-clock rules that App Engine schedules follow.

    From 2038 on a zone keeps the offset that it has at the end of 2037, as in Google's code.
    """

    name: str
    info: tzinfo

    def offset(self, instant: datetime) -> timedelta:
        """How far wall time is ahead of UTC at `instant`."""
        ahead = min(instant, _LAST_KNOWN).astimezone(self.info).utcoffset()
        return ahead if ahead is not None else timedelta(0)

    def wall(self, instant: datetime) -> datetime:
        """What a clock on the wall shows at `instant`."""
        return instant.replace(tzinfo=None) + self.offset(instant)

    def instants(self, wall: datetime) -> list[datetime]:
        """Every instant at which a clock shows `wall`, in order: none in a gap, two in a doubled hour."""
        as_utc = wall.replace(tzinfo=UTC)
        offsets = {self.offset(as_utc - _DAY), self.offset(as_utc + _DAY)}
        return sorted(as_utc - ahead for ahead in offsets if self.offset(as_utc - ahead) == ahead)

    def first_instant(self, wall: datetime) -> datetime:
        """The first instant at which a clock shows `wall`, or in a gap the first whole minute after it."""
        while not (found := self.instants(wall)):
            wall += _MINUTE
        return found[0]


def find_zone(name: str) -> Zone:
    """The zone of an IANA name, in any case ("utc", "america/chicago"); an empty name is UTC.

    Raises TimezoneError, with the nearest name where there is one.
    """
    names = _names()
    known = names.get(name.strip().casefold() or "utc")
    if known is None:
        near = difflib.get_close_matches(name.casefold(), names, n=1)
        hint = f"Did you mean {names[near[0]]}?" if near else "Write an IANA name such as America/Chicago."
        raise TimezoneError(f'"{name}" is no time zone.', hint=hint)
    return Zone(known, zoneinfo.ZoneInfo(known))


@functools.cache
def _names() -> dict[str, str]:
    return {name.casefold(): name for name in zoneinfo.available_timezones() - _NOT_ZONES}
