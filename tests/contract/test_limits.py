"""Limits stand in one order, whatever the time limit."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.contract.limits import (
    LONGEST_DEADLINE,
    LONGEST_TIME_LIMIT,
    SHORTEST_DEADLINE,
    SHORTEST_TIME_LIMIT,
    WORKER_TIMEOUT,
    dispatch_deadline_of,
    lease_of,
    limit_fault,
)


@given(st.floats(SHORTEST_TIME_LIMIT, LONGEST_TIME_LIMIT))
def test_a_time_limit_that_is_allowed_keeps_the_order(time_limit: float) -> None:
    assert limit_fault(time_limit) is None
    assert time_limit < lease_of(time_limit) < dispatch_deadline_of(time_limit) < WORKER_TIMEOUT
    assert SHORTEST_DEADLINE <= dispatch_deadline_of(time_limit) <= LONGEST_DEADLINE


@given(st.floats(LONGEST_TIME_LIMIT, 1e9, exclude_min=True))
def test_a_time_limit_that_would_break_the_order_is_a_fault(time_limit: float) -> None:
    fault = limit_fault(time_limit)

    assert fault is not None
    assert "1770 s" in fault
