"""What becomes of a batch after an attempt, as pure decisions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contract.operations import OnTimeout, TaskOptions
from headrace.database.lease_rows import Lease
from headrace.database.states import BatchState, Cause, Outcome
from headrace.errors import Cancel, PermanentFailure, Retry, Snooze
from headrace.execution import verdicts
from headrace.execution.verdicts import ERROR_KEPT, POISON_AFTER, TRACE_KEPT, Tries, Verdict
from headrace.retries import RetryLimits, backoff

NOW = 1_800_000_000_000
STARTED = NOW - 5_000
TASK = TaskOptions(queue="work", time_limit=10.0)
LEASE = Lease(
    batch_id=1,
    run_id="f" * 32,
    step_id=1,
    number=1,
    item_count=3,
    generation=1,
    fence=1,
    attempt=1,
    failures=0,
    losses=0,
    outcomes=None,
    saved=None,
    order_key=None,
    queue=None,
    handler="handlers.numbers.work",
    started_at=STARTED,
    until=NOW + 20_000,
)
LIMITS = RetryLimits(max_attempts=3, max_duration=0.0, min_backoff=1.0, max_backoff=100.0, max_doublings=5)

limits = st.builds(
    RetryLimits,
    max_attempts=st.sampled_from([-1, 1, 2, 5]),
    max_duration=st.sampled_from([0.0, 3.0, 60.0]),
    min_backoff=st.floats(0.01, 10),
    max_backoff=st.floats(10, 3_600),
    max_doublings=st.integers(0, 16),
)
tries_left = st.builds(
    Tries,
    limits=limits,
    queue_retries=st.integers(0, 10),
    now=st.just(NOW),
    first_at=st.integers(STARTED - 100_000, STARTED).map(lambda first: lambda _attempts: first),
    chance=st.floats(0, 1),
)
leases = st.builds(replace, st.just(LEASE), failures=st.integers(0, 10), losses=st.integers(0, 10))
tasks = st.builds(
    TaskOptions,
    queue=st.just("work"),
    idempotent=st.booleans(),
    on_timeout=st.sampled_from(OnTimeout),
    permanent=st.sampled_from([(), (LookupError,), (Exception,)]),
)
errors = st.sampled_from(
    [
        ValueError("no"),
        KeyError("x"),
        Retry("later"),
        Retry(after=30),
        Snooze(60, "not yet"),
        Cancel("nobody wants it"),
        PermanentFailure("never"),
    ]
)
every_verdict = st.one_of(
    st.builds(lambda warning: verdicts.done(warning=warning), st.sampled_from(["", "careful"])),
    st.builds(verdicts.continued, leases),
    st.builds(verdicts.released, leases),
    st.builds(verdicts.raised, errors, leases, tasks, tries_left),
    st.builds(verdicts.timed_out, leases, tasks, tries_left),
    st.builds(verdicts.lost, leases, idempotent=st.booleans(), now=st.just(NOW), chance=st.floats(0, 1)),
    st.builds(lambda lease: verdicts.in_doubt("mail", lease), leases),
)


def tries(limits: RetryLimits = LIMITS, *, queue_retries: int = 0, first_at: int = STARTED) -> Tries:
    return Tries(limits, queue_retries, NOW, lambda _attempts: first_at, 0.5)


def raised(error: Exception, lease: Lease = LEASE, task: TaskOptions = TASK, left: Tries | None = None) -> Verdict:
    return verdicts.raised(error, lease, task, left or tries())


def lost(lease: Lease, *, idempotent: bool = True, chance: float = 0.5) -> Verdict:
    return verdicts.lost(lease, idempotent=idempotent, now=NOW, chance=chance)


@given(every_verdict)
def test_a_verdict_contradicts_itself_nowhere(verdict: Verdict) -> None:
    assert (verdict.state is BatchState.DEAD) == bool(verdict.cause), "a dead batch has a cause, and no other has one"
    assert verdict.renews == (verdict.state is BatchState.PENDING), "what waits for our push is the next generation"
    assert verdict.due_at is None or verdict.renews
    assert verdict.failures >= 0
    assert verdict.losses >= 0
    assert verdict.state is not BatchState.RUNNING
    assert verdict.state is not BatchState.DEAD or verdict.error, "a dead batch tells why"
    assert verdict.counts == (verdict.outcome not in {Outcome.CONTINUED, Outcome.SNOOZED, Outcome.RELEASED})


@given(every_verdict)
def test_a_cancelled_run_leaves_nothing_to_try(verdict: Verdict) -> None:
    left = verdicts.cancelled(verdict)
    assert (left.state, left.due_at, left.renews) == (BatchState.CANCELLED, None, False)
    assert (left.outcome, left.error, left.trace, left.counts) == (
        verdict.outcome,
        verdict.error,
        verdict.trace,
        verdict.counts,
    )


@given(tries_left, st.integers(1, 30))
def test_the_next_try_is_within_a_tenth_of_the_queues_backoff(left: Tries, failures: int) -> None:
    wait = (left.again_at(failures) - NOW) / 1000
    expected = backoff(left.limits, failures)
    assert expected * 0.9 - 0.001 <= wait <= expected * 1.1


@given(leases, tasks, tries_left)
def test_what_a_limit_ends_is_never_left_to_a_queue_that_still_waits_for_the_answer(
    lease: Lease, task: TaskOptions, left: Tries
) -> None:
    assert verdicts.timed_out(lease, task, left).state is not BatchState.PUSHED


@pytest.mark.parametrize(
    ("error", "state", "outcome", "failures", "due_in"),
    [
        (ValueError("no"), BatchState.PUSHED, Outcome.FAILED, 2, None),
        (Retry("busy"), BatchState.PUSHED, Outcome.FAILED, 2, None),
        (Retry("busy", after=30), BatchState.PENDING, Outcome.FAILED, 2, 30_000),
        (Snooze(60), BatchState.PENDING, Outcome.SNOOZED, 1, 60_000),
        (Cancel("gone"), BatchState.CANCELLED, Outcome.CANCELLED, 0, None),
        (PermanentFailure("bad id"), BatchState.DEAD, Outcome.PERMANENT, 2, None),
    ],
)
def test_what_a_handler_raises_says_what_it_means(
    error: Exception, state: BatchState, outcome: Outcome, failures: int, due_in: int | None
) -> None:
    verdict = raised(error, replace(LEASE, failures=1))
    due_at = None if due_in is None else NOW + due_in
    assert (verdict.state, verdict.outcome, verdict.failures, verdict.due_at) == (state, outcome, failures, due_at)


def test_an_error_is_kept_with_its_class_and_its_trace() -> None:
    def look_up() -> None:
        raise KeyError("ada")

    with pytest.raises(KeyError) as caught:
        look_up()
    verdict = raised(caught.value)
    assert verdict.error == "KeyError: 'ada'"
    assert "in look_up" in verdict.trace


def test_a_snooze_costs_neither_an_attempt_nor_what_was_lost_before() -> None:
    verdict = raised(Snooze(60), replace(LEASE, failures=2, losses=1))
    assert (verdict.counts, verdict.failures, verdict.losses, verdict.error) == (False, 2, 1, "")


@pytest.mark.parametrize("error", [KeyError("x"), IndexError("y"), LookupError("z")])
def test_an_error_that_the_contract_calls_permanent_is_not_tried_again(error: Exception) -> None:
    verdict = raised(error, task=replace(TASK, permanent=(LookupError,)))
    assert (verdict.state, verdict.outcome, verdict.cause) == (BatchState.DEAD, Outcome.PERMANENT, Cause.PERMANENT)


def test_the_last_try_that_fails_makes_the_batch_dead_at_once() -> None:
    states = [raised(ValueError("no"), replace(LEASE, failures=before)).state for before in range(3)]
    assert states == [BatchState.PUSHED, BatchState.PUSHED, BatchState.DEAD]
    verdict = raised(Retry("later", after=5), replace(LEASE, failures=2))
    assert (verdict.state, verdict.cause, verdict.failures) == (BatchState.DEAD, Cause.EXHAUSTED, 3)


@pytest.mark.parametrize(
    ("failures_before", "age", "state"),
    [
        (5, 3, BatchState.PUSHED),
        (0, 60, BatchState.PUSHED),
        (5, 60, BatchState.DEAD),
    ],
)
def test_with_a_limit_of_attempts_and_one_of_age_both_have_to_be_reached(
    failures_before: int, age: int, state: BatchState
) -> None:
    both = replace(LIMITS, max_duration=30.0)
    left = tries(both, first_at=NOW - age * 1_000)
    assert raised(ValueError("no"), replace(LEASE, failures=failures_before), left=left).state is state


def test_when_the_queue_has_no_try_left_for_us_the_batch_is_pushed_again() -> None:
    """The queue has counted deliveries that were told to come back, of which no attempt came."""
    verdict = raised(ValueError("no"), left=tries(queue_retries=2))
    assert (verdict.state, verdict.renews, verdict.failures) == (BatchState.PENDING, True, 1)
    assert verdict.due_at is not None
    assert verdict.due_at > NOW


@pytest.mark.parametrize(
    ("task", "failures_before", "state", "cause"),
    [
        (TASK, 0, BatchState.PENDING, ""),
        (TASK, 2, BatchState.DEAD, Cause.EXHAUSTED),
        (replace(TASK, on_timeout=OnTimeout.FAIL), 0, BatchState.DEAD, Cause.TIMED_OUT),
        (replace(TASK, idempotent=False), 0, BatchState.UNDECIDED, ""),
    ],
)
def test_what_a_time_out_means_is_said_by_the_contract(
    task: TaskOptions, failures_before: int, state: BatchState, cause: str
) -> None:
    verdict = verdicts.timed_out(replace(LEASE, failures=failures_before), task, tries())
    assert (verdict.state, verdict.outcome, verdict.cause) == (state, Outcome.TIMED_OUT, cause)
    assert verdict.error == "The attempt passed its time limit of 10 s."


def test_a_batch_whose_attempts_die_again_and_again_is_poison() -> None:
    fates = [lost(replace(LEASE, losses=before)) for before in range(POISON_AFTER)]
    assert [verdict.state for verdict in fates] == [BatchState.PENDING, BatchState.PENDING, BatchState.DEAD]
    assert [verdict.losses for verdict in fates] == [1, 2, 3]
    assert fates[-1].cause is Cause.POISON


def test_what_was_lost_once_returns_at_once_and_what_was_lost_twice_apart_from_what_it_was_lost_with() -> None:
    assert lost(LEASE).due_at is None
    due = {lost(replace(LEASE, losses=1), chance=chance).due_at for chance in (0.0, 0.25, 1.0)}
    assert due == {NOW, NOW + 5_000, NOW + 20_000}


def test_an_attempt_that_says_something_ends_a_row_of_losses() -> None:
    assert raised(ValueError("no"), replace(LEASE, losses=2)).losses == 0
    assert verdicts.done().losses == 0


def test_a_batch_that_is_not_idempotent_and_died_waits_for_a_decision() -> None:
    assert lost(LEASE, idempotent=False).state is BatchState.UNDECIDED


def test_errors_and_traces_are_kept_within_bounds() -> None:
    verdict = raised(ValueError("x" * 100_000))
    assert (len(verdict.error), len(verdict.trace)) == (ERROR_KEPT, TRACE_KEPT)
    assert len(verdicts.done(warning="y" * 100_000).error) == ERROR_KEPT


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a\0b\ud800"), "ValueError: a\\x00b\\ud800"),
        (ValueError(), "ValueError"),
        (_Unspeakable(), "_Unspeakable: (its text cannot be had: RuntimeError)"),
    ],
)
def test_any_error_can_be_written_down(error: Exception, text: str) -> None:
    verdict = raised(error)
    assert verdict.error == text
    assert "\0" not in verdict.trace + verdict.error
    assert (verdict.trace + verdict.error).encode()
