"""Who is entitled to which access tier: pure rules over plain data.

The rules are those of the All of Us Researcher Workbench: a tier is open to a user who has every module that
it requires; most modules count for 365 days after completion; a bypassed module counts until the bypass is
taken back; a disabled user has no tier.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Module:
    """Something a user must do; a completion counts for `expires_after_days`, or for ever: None."""

    name: str
    expires_after_days: int | None


TWO_FACTOR_AUTH = Module("TWO_FACTOR_AUTH", None)
IDENTITY = Module("IDENTITY", None)
RT_COMPLIANCE_TRAINING = Module("RT_COMPLIANCE_TRAINING", 365)
DATA_USER_CODE_OF_CONDUCT = Module("DATA_USER_CODE_OF_CONDUCT", 365)
PROFILE_CONFIRMATION = Module("PROFILE_CONFIRMATION", 365)
PUBLICATION_CONFIRMATION = Module("PUBLICATION_CONFIRMATION", 365)
CT_COMPLIANCE_TRAINING = Module("CT_COMPLIANCE_TRAINING", 365)

REGISTERED = "registered"
CONTROLLED = "controlled"

REGISTERED_MODULES = (
    TWO_FACTOR_AUTH,
    IDENTITY,
    RT_COMPLIANCE_TRAINING,
    DATA_USER_CODE_OF_CONDUCT,
    PROFILE_CONFIRMATION,
    PUBLICATION_CONFIRMATION,
)
CONTROLLED_MODULES = (*REGISTERED_MODULES, CT_COMPLIANCE_TRAINING)
REQUIREMENTS: Mapping[str, frozenset[str]] = {
    REGISTERED: frozenset(module.name for module in REGISTERED_MODULES),
    CONTROLLED: frozenset(module.name for module in CONTROLLED_MODULES),
}
"""What a new database starts with; the table `tier_requirements` is what counts from then on."""


def expiry(module: Module, completed_at: int) -> int | None:
    """When a completion of `module` stops counting; None: never. Epoch milliseconds."""
    if module.expires_after_days is None:
        return None
    return completed_at + module.expires_after_days * DAY_MS


def counts(completed_at: int | None, bypassed_at: int | None, expires_at: int | None, *, at: int) -> bool:
    """Whether a module in this state counts at the time `at`. Epoch milliseconds.

    At the very millisecond of `expires_at` it counts no more.
    """
    if bypassed_at is not None:
        return True
    return completed_at is not None and (expires_at is None or expires_at > at)


def entitlement(*, disabled: bool, modules: Set[str], requirements: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The tiers of a user for whom `modules` count; `requirements` names the modules of each tier."""
    if disabled:
        return frozenset()
    return frozenset(tier for tier, required in requirements.items() if required <= modules)
