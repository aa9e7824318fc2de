"""Several drivers as one: each push goes by the driver that it names."""

from collections.abc import Mapping, Sequence

from headrace.drivers.base import Driver, Push, PushResult


class Drivers:
    """A driver that routes. `by_name` are its drivers, `default` the name of the one that carries what names none.

    `carried` gives the names of the drivers that carry a queue's tasks; a queue that is not in it goes by the
    default one. A queue may have two, one for each of its handlers, or while tasks move from one to the other.
    """

    def __init__(self, by_name: Mapping[str, Driver], default: str, carried: Mapping[str, frozenset[str]]) -> None:
        self._by_name = by_name
        self._default = default
        self._carried = carried

    @property
    def name(self) -> str:
        """The default driver's."""
        return self._default

    @property
    def max_body(self) -> int:
        """What every driver takes."""
        return min(driver.max_body for driver in self._by_name.values())

    @property
    def max_delay(self) -> float:
        """What every driver takes."""
        return min(driver.max_delay for driver in self._by_name.values())

    def push_many(self, pushes: Sequence[Push]) -> list[PushResult]:
        """See `Driver.push_many`. A name that is no driver's is a KeyError: the contract has only known ones."""
        names = [push.driver or self._default for push in pushes]
        results: dict[int, PushResult] = {}
        for name in dict.fromkeys(names):
            indices = [index for index, each in enumerate(names) if each == name]
            answers = self._by_name[name].push_many([pushes[index] for index in indices])
            results |= zip(indices, answers, strict=True)
        return [results[index] for index in range(len(pushes))]

    def missing(self, queue: str, names: Sequence[str]) -> set[str]:
        """See `Driver.missing`: gone is what is with none of the queue's drivers."""
        return set.intersection(*(driver.missing(queue, names) for driver in self._drivers_of(queue)))

    def has_queue(self, queue: str) -> bool:
        """See `Driver.has_queue`."""
        return all(driver.has_queue(queue) for driver in self._drivers_of(queue))

    def close(self) -> None:
        """Close all drivers."""
        for driver in self._by_name.values():
            driver.close()

    def _drivers_of(self, queue: str) -> list[Driver]:
        return [self._by_name[name] for name in sorted(self._carried.get(queue, {self._default}))]
