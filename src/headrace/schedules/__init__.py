"""Schedules of `cron.yaml`: App Engine's grammar and unix-cron, to the times at which a job starts."""

from headrace.schedules.errors import ScheduleError, TimezoneError
from headrace.schedules.schedule import Schedule, parse_schedule
from headrace.schedules.zones import find_zone

__all__ = ["Schedule", "ScheduleError", "TimezoneError", "find_zone", "parse_schedule"]
