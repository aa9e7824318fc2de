"""Deliveries and attempts of one task in one line of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_APART = 0.1
"""Seconds that an attempt may seem to begin before its delivery: clocks are rounded."""


@dataclass(slots=True)
class Moment:
    """A delivery of the queue with the attempts that it came to, or an attempt whose delivery nobody knows.

    `at` is in epoch seconds. Rows are those of the admin API.
    """

    at: float
    delivery: Mapping[str, Any] | None
    attempts: list[Mapping[str, Any]] = field(default_factory=list)


def join_attempts(attempts: Sequence[Mapping[str, Any]], deliveries: Sequence[Mapping[str, Any]]) -> list[Moment]:
    """Moments, the newest first. Pure.

    An attempt belongs to the delivery during which it began. A delivery without one met a batch that was done, or
    held by another attempt, or did not reach the service. An attempt without one is of a delivery that is under way,
    or that the queue has forgotten.
    """
    moments = [Moment(_seconds(each["started_at"]), each) for each in deliveries]
    moments.sort(key=lambda moment: moment.at)
    alone = []
    for attempt in attempts:
        began = _seconds(attempt["started_at"])
        during = [
            moment
            for moment in moments
            if moment.delivery is not None
            and moment.at - _APART <= began <= moment.at + moment.delivery["seconds"] + _APART
        ]
        if during:
            # Clocks apart, or deliveries at one moment: each takes one attempt before any takes a second.
            free = [moment for moment in during if not moment.attempts] or during
            free[0].attempts.append(attempt)
        else:
            alone.append(Moment(began, None, [attempt]))
    return sorted([*moments, *alone], key=lambda moment: moment.at, reverse=True)


def _seconds(at: str | None) -> float:
    return 0.0 if at is None else datetime.fromisoformat(at).timestamp()
