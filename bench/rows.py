"""One measured figure and the bar it is held against."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """`figure` and `bar` share `unit`; `at_least` says which side of the bar is good. No bar: a figure to know."""

    name: str
    figure: float
    unit: str
    bar: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if self.bar is None:
            return None
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar
