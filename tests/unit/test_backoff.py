"""The wait between a failed push and the next: every row that Google's own code gave, and its laws."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.retries import RetryLimits, backoff

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "backoff.json").read_text())
limits_ = st.builds(
    RetryLimits,
    max_attempts=st.just(-1),
    max_duration=st.just(0.0),
    min_backoff=st.floats(0.0, 3600.0),
    max_backoff=st.floats(0.0, 1e6),
    max_doublings=st.integers(0, 10_000),
)


def limits(min_backoff: float, max_backoff: float, max_doublings: int) -> RetryLimits:
    return RetryLimits(-1, 0.0, min_backoff, max_backoff, max_doublings)


@pytest.mark.parametrize("row", VECTORS["backoff"], ids=lambda row: f"{row['min_backoff']}-{row['max_doublings']}")
def test_waits_are_those_of_googles_code(row: dict[str, Any]) -> None:
    made = limits(row["min_backoff"], row["max_backoff"], row["max_doublings"])
    assert [backoff(made, retry) for retry in range(1, 31)] == pytest.approx(row["intervals_s"])


def test_the_documented_series_doubles_then_grows_by_a_step_then_stays() -> None:
    assert [backoff(limits(10, 300, 3), retry) for retry in range(1, 9)] == [10, 20, 40, 80, 160, 240, 300, 300]


def test_retries_count_from_one() -> None:
    with pytest.raises(ValueError):
        backoff(limits(1, 10, 3), 0)


@given(limits_, st.integers(1, 1_000_000))
def test_waits_stay_within_their_bounds_and_never_shrink(made: RetryLimits, retry: int) -> None:
    wait = backoff(made, retry)
    assert 0.0 <= wait <= made.max_backoff
    assert wait >= min(made.min_backoff, made.max_backoff)
    assert backoff(made, retry + 1) >= wait
