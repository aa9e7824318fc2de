"""unix-cron: five fields, `minute hour day-of-month month day-of-week`.

Each field is `*`, a number, a range, a list of these, with `/n` for every n-th. Months and weekdays may be
three-letter names; 7 is Sunday, as 0 is. When day of month and day of week are both restricted, either is
enough. No seconds field, no `L`, `W`, `#`, no `@daily`. (Cloud Scheduler, "cron job format".)

Google says only that a doubled hour "may" run oddly. Here a schedule with a number in minute and hour keeps
to the wall clock as Debian's cron does: a skipped time comes at the first minute after the gap, a doubled one
comes once. One with a star at the start of minute or hour goes by elapsed time. A day field that starts with
a star, `*/2` too, does not count as restricted. Where clocks go back by half an hour (Lord Howe Island), a
star in the hour may leave out one time that day.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim, CronSimError

from headrace.schedules.errors import ScheduleError
from headrace.schedules.zones import Zone

_FIELDS: Final = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day-of-month", "1-31, in one of the chosen months"),
    ("month", "1-12 or JAN-DEC"),
    ("day-of-week", "0-7 or SUN-SAT; 0 and 7 are Sunday"),
)
_NAMES: Final = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT"
_FIELD: Final = re.compile(rf"(?:[0-9*,/-]|{_NAMES})+", re.IGNORECASE)
_FIRST_FIELDS: Final = re.compile(r"\s*[0-9*,/-]+\s+[0-9*,/-]+(?:\s|$)")
_REFERENCE: Final = datetime(2000, 1, 1, tzinfo=UTC)


def looks_like_unix_cron(text: str) -> bool:
    """Whether the first two words, minute and hour, are made of cron's digits and signs."""
    return _FIRST_FIELDS.match(text) is not None


@dataclass(frozen=True, slots=True)
class UnixCron:
    """A unix-cron rule; `fields` are its five fields, one space apart."""

    fields: str

    @property
    def words(self) -> str:
        """When it starts, in words."""
        return str(CronSim(self.fields, _REFERENCE).explain())

    def next_after(self, start: datetime, zone: Zone) -> datetime:
        # In a doubled hour the wall clock alone may point back before the start.
        for wall in CronSim(self.fields, start.astimezone(zone.info)):
            instant = wall.astimezone(UTC)
            if instant > start:
                return instant
        raise ScheduleError(f"{self.fields} has no time within 50 years after {start.isoformat()}.")


def parse_unix_cron(text: str) -> UnixCron:
    """The rule of a unix-cron schedule.

    Raises ScheduleError that names the field, also for a date that no year has (`0 0 30 2 *`).
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ScheduleError(
            f"unix-cron has 5 fields, this has {len(fields)}.",
            hint="Write minute hour day-of-month month day-of-week; there is no field for seconds.",
        )
    for field, (name, allowed) in zip(fields, _FIELDS, strict=True):
        if not _FIELD.fullmatch(field):
            raise _refusal(name, field, allowed)
    joined = " ".join(fields)
    try:
        CronSim(joined, _REFERENCE)
    except CronSimError as error:
        for field, (name, allowed) in zip(fields, _FIELDS, strict=True):
            if str(error).endswith(name):
                raise _refusal(name, field, allowed) from error
        raise
    return UnixCron(joined)


def _refusal(name: str, field: str, allowed: str) -> ScheduleError:
    return ScheduleError(f'The {name} field "{field}" is not right.', hint=f"It takes {allowed}.")
