"""One measured figure and the bar it is held against."""

from collections.abc import Iterable
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


def print_rows(rows: Iterable[Row]) -> int:
    """Print each row as it comes, with its bar beside it; how many miss theirs."""
    missed = 0
    for row in rows:
        bar = "" if row.bar is None else f"{'≥' if row.at_least else '≤'} {row.bar:,.4g}"
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        missed += row.met is False
        print(f"{row.name:58} {row.figure:12,.2f} {row.unit:8} {bar:>10} {verdict:6} {row.note}", flush=True)
    return missed
