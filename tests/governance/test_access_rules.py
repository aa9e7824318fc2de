"""Which tiers a user is entitled to."""

from hypothesis import given
from hypothesis import strategies as st

from governance.access import (
    CONTROLLED,
    CONTROLLED_MODULES,
    DATA_USER_CODE_OF_CONDUCT,
    DAY_MS,
    REGISTERED,
    REGISTERED_MODULES,
    REQUIREMENTS,
    TWO_FACTOR_AUTH,
    counts,
    entitlement,
    expiry,
)

NAMES = frozenset(module.name for module in CONTROLLED_MODULES)
TIMES = st.integers(min_value=0, max_value=4_000_000_000_000)
some_modules = st.frozensets(st.sampled_from(sorted(NAMES)))


def tiers_for(modules: frozenset[str], *, disabled: bool = False) -> frozenset[str]:
    return entitlement(disabled=disabled, modules=modules, requirements=REQUIREMENTS)


def test_the_six_modules_open_the_registered_tier_and_the_seventh_the_controlled_one():
    six = frozenset(module.name for module in REGISTERED_MODULES)
    assert tiers_for(six) == {REGISTERED}
    assert tiers_for(NAMES) == {REGISTERED, CONTROLLED}
    assert len(six) == 6
    assert NAMES - six == {"CT_COMPLIANCE_TRAINING"}


@given(missing=st.sampled_from(sorted(REQUIREMENTS[REGISTERED])))
def test_without_one_of_the_six_modules_there_is_no_tier(missing: str):
    assert tiers_for(NAMES - {missing}) == frozenset()


@given(some_modules)
def test_a_disabled_user_has_no_tier(modules: frozenset[str]):
    assert tiers_for(modules, disabled=True) == frozenset()


@given(some_modules, some_modules)
def test_another_module_never_takes_a_tier_away(modules: frozenset[str], more: frozenset[str]):
    assert tiers_for(modules) <= tiers_for(modules | more)


@given(some_modules)
def test_nobody_is_in_the_controlled_tier_alone(modules: frozenset[str]):
    tiers = tiers_for(modules)
    assert CONTROLLED not in tiers or REGISTERED in tiers


@given(completed_at=TIMES, after=st.integers(min_value=0, max_value=400 * DAY_MS))
def test_a_completion_counts_for_365_days_to_the_millisecond(completed_at: int, after: int):
    expires_at = expiry(DATA_USER_CODE_OF_CONDUCT, completed_at)
    assert counts(completed_at, None, expires_at, at=completed_at + after) == (after < 365 * DAY_MS)


@given(completed_at=TIMES, at=TIMES)
def test_a_completion_that_does_not_expire_counts_for_ever(completed_at: int, at: int):
    assert counts(completed_at, None, expiry(TWO_FACTOR_AUTH, completed_at), at=at)


@given(completed_at=st.none() | TIMES, bypassed_at=TIMES, expires_at=st.none() | TIMES, at=TIMES)
def test_a_bypassed_module_counts_whatever_became_of_its_completion(
    completed_at: int | None, bypassed_at: int, expires_at: int | None, at: int
):
    assert counts(completed_at, bypassed_at, expires_at, at=at)


@given(expires_at=st.none() | TIMES, at=TIMES)
def test_a_module_neither_completed_nor_bypassed_does_not_count(expires_at: int | None, at: int):
    assert not counts(None, None, expires_at, at=at)
