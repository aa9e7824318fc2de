"""Durations that callers give."""

from headrace.cloud.descriptors import Message
from headrace.cloud.errors import invalid

MAX_SECONDS = 315_576_000_000
"""About 10,000 years, the longest that google.protobuf.Duration allows; beyond it no answer could show it."""


def seconds_of(duration: Message) -> float:
    """To the microsecond."""
    seconds: float = duration.seconds + duration.nanos // 1000 / 1e6
    return seconds


def read_duration(duration: Message, field: str) -> float:
    """Seconds, to the microsecond; ApiError for one that is negative or too long, naming `field`."""
    seconds = seconds_of(duration)
    if seconds < 0:
        raise invalid(f"{field} cannot be negative.")
    if seconds > MAX_SECONDS:
        raise invalid(f"{field} must be at most {MAX_SECONDS}s.")
    return seconds
