"""The token bucket keeps to its law, and gives all that the law allows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.bucket import Bucket, full, next_at, refill, take
from headrace.engine.model import RateLimits

START = 1_800_000_000.0
limits_ = st.builds(
    RateLimits, st.sampled_from([0.2, 1.0, 1.5, 10.0, 100.0, 500.0]), st.integers(1, 500), st.just(1000)
)


def takes_as_soon_as_possible(limits: RateLimits, until: float) -> list[float]:
    bucket, times = full(limits, START), []
    while (at := next_at(bucket, limits)) <= until:
        taken = take(bucket, limits, at)
        assert taken is not None
        times.append(at - START)
        bucket = taken
    return times


def test_a_rate_of_one_and_a_burst_of_five_lets_five_go_and_then_one_a_second() -> None:
    times = takes_as_soon_as_possible(RateLimits(1.0, 5, 1000), START + 3.0)
    assert times == pytest.approx([0, 0, 0, 0, 0, 1, 2, 3], abs=1e-3)


@pytest.mark.parametrize("rate", [0.2, 1.5, 100.0, 500.0])
def test_rates_are_exact_fractions_too(rate: float) -> None:
    times = takes_as_soon_as_possible(RateLimits(rate, 1, 1000), START + 1000 / rate + 1e-3)
    assert len(times) == 1001
    assert times[-1] == pytest.approx(1000 / rate, abs=2e-3)


def test_a_rate_of_zero_never_gives_a_token() -> None:
    limits = RateLimits(0.0, 5, 1000)
    assert take(full(limits, START), limits, START + 1e9) is None
    assert next_at(full(limits, START), limits) == math.inf


def test_a_time_that_runs_backwards_gives_nothing() -> None:
    bucket = Bucket(0.0, START)
    assert refill(bucket, RateLimits(1.0, 5, 1000), START - 100) == bucket


@given(limits_, st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200))
def test_no_span_of_time_sees_more_than_burst_and_rate_allow(limits: RateLimits, gaps: list[float]) -> None:
    bucket, now, taken_at = full(limits, START), START, []
    for gap in gaps:
        now += gap
        while (taken := take(bucket, limits, now)) is not None:
            bucket = taken
            taken_at.append(now)
    for first, start in enumerate(taken_at[:40]):
        for last in range(first, min(first + 600, len(taken_at))):
            span = taken_at[last] - start
            assert last - first + 1 <= limits.burst + limits.per_second * span + 1e-2


@given(limits_, st.floats(-5.0, 500.0), st.floats(0.0, 1000.0))
def test_the_next_time_is_the_first_that_gives_a_token(limits: RateLimits, tokens: float, age: float) -> None:
    bucket = refill(Bucket(min(tokens, limits.burst), START), limits, START + age)
    at = next_at(bucket, limits)
    assert take(bucket, limits, at) is not None
    assert at == bucket.updated_at or take(bucket, limits, at - 0.01 / limits.per_second) is None
