"""What is wrong with a schedule.

ScheduleError        the schedule: neither App Engine's grammar nor unix-cron, or it never comes
└── TimezoneError    its time zone
"""

from headrace.errors import HeadraceError


class ScheduleError(HeadraceError):
    """A schedule is refused; the message says what is wrong and at which character, counted from 1."""

    code = "BAD_SCHEDULE"
    status = 400


class TimezoneError(ScheduleError):
    """The time zone's name is not one of the IANA names."""

    code = "BAD_TIMEZONE"
