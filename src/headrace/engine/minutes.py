"""Pushes a minute, over the last hour: what ended well and what did not, in memory alone."""

from dataclasses import dataclass, field

SHOWN = 60
"""Minutes that are kept."""


@dataclass(frozen=True, slots=True)
class MinuteCounts:
    """Pushes that ended in each minute, the last one under way: `times` are where they begin, in epoch seconds."""

    times: list[int]
    done: list[int]
    failed: list[int]


@dataclass(slots=True)
class Minutes:
    """Counts pushes as they end. A minute without any costs nothing, and is not kept."""

    _counts: dict[int, list[int]] = field(default_factory=dict)

    def add(self, now: float, *, succeeded: bool) -> None:
        """Count a push that ended."""
        minute = int(now // 60)
        counts = self._counts.get(minute)
        if counts is None:
            self._counts = {kept: each for kept, each in self._counts.items() if minute - SHOWN < kept <= minute}
            counts = self._counts[minute] = [0, 0]
        counts[succeeded] += 1

    def last(self, now: float) -> MinuteCounts:
        """The last hour, 0 where nothing ended."""
        last = int(now // 60)
        minutes = range(last - SHOWN + 1, last + 1)
        counts = [self._counts.get(minute, (0, 0)) for minute in minutes]
        return MinuteCounts(
            [60 * minute for minute in minutes], [done for _, done in counts], [failed for failed, _ in counts]
        )
