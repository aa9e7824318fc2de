"""Brings the tiers of a batch of users in line with their modules.

Four reads a batch, whatever its size, and writes only where something changed. Each change leaves one row in
`audit_log`; each tier taken leaves one message to its user. What is right already is not touched, so a second
call changes nothing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, bindparam, delete, insert, select

from governance.access import counts, entitlement
from governance.tables import audit_log, tier_requirements, user_messages, user_modules, user_tiers, users

ACTOR = "synchronizeUserAccess"

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
# The lock orders two synchronisations of one user; SQLite has one writer and needs none.
_USERS = (
    select(users.c.id, users.c.email, users.c.disabled)
    .where(users.c.id.in_(_IDS))
    .order_by(users.c.id)
    .with_for_update(key_share=True)
)
_MODULES = select(
    user_modules.c.user_id,
    user_modules.c.module,
    user_modules.c.completed_at,
    user_modules.c.bypassed_at,
    user_modules.c.expires_at,
).where(user_modules.c.user_id.in_(_IDS))
_TIERS = select(user_tiers.c.user_id, user_tiers.c.tier, user_tiers.c.since).where(user_tiers.c.user_id.in_(_IDS))
_REQUIREMENTS = select(tier_requirements.c.tier, tier_requirements.c.module)
_TAKE = delete(user_tiers).where(
    user_tiers.c.user_id == bindparam("taken_from"), user_tiers.c.tier == bindparam("taken_tier")
)


@dataclass(frozen=True, slots=True)
class Change:
    """One tier to give to a user or to take away; `since` is when a tier that is taken was given."""

    user_id: int
    email: str
    tier: str
    since: int | None = None

    @property
    def taken(self) -> bool:
        """Whether the tier is taken away; else it is given."""
        return self.since is not None


@dataclass(frozen=True, slots=True)
class Synchronized:
    """What one call did: users looked at, tiers taken, tiers given."""

    users: int
    taken: int
    given: int


def synchronize(connection: Connection, user_ids: Sequence[int], at: float) -> Synchronized:
    """Recompute the tiers of `user_ids` at the time `at` (epoch seconds) in the caller's transaction.

    Ids of users that are gone are passed over. Nothing is committed here.
    """
    at_ms = int(at * 1000)
    ids = {"ids": user_ids}
    people = connection.execute(_USERS, ids).all()
    requirements = _read_requirements(connection)
    valid: dict[int, set[str]] = defaultdict(set)
    for user_id, module, completed_at, bypassed_at, expires_at in connection.execute(_MODULES, ids).all():
        if counts(completed_at, bypassed_at, expires_at, at=at_ms):
            valid[user_id].add(module)
    held: dict[int, dict[str, int]] = defaultdict(dict)
    for user_id, tier, since in connection.execute(_TIERS, ids).all():
        held[user_id][tier] = since
    changes = _changes(people, valid, held, requirements)
    if changes:
        _write(connection, changes, at_ms)
    taken = sum(change.taken for change in changes)
    return Synchronized(users=len(people), taken=taken, given=len(changes) - taken)


def _read_requirements(connection: Connection) -> dict[str, frozenset[str]]:
    modules: dict[str, set[str]] = defaultdict(set)
    for tier, module in connection.execute(_REQUIREMENTS):
        modules[tier].add(module)
    return {tier: frozenset(required) for tier, required in modules.items()}


def _changes(
    people: Sequence[Row[int, str, bool]],
    valid: Mapping[int, Set[str]],
    held: Mapping[int, Mapping[str, int]],
    requirements: Mapping[str, frozenset[str]],
) -> list[Change]:
    changes = []
    for user_id, email, disabled in people:
        entitled = entitlement(disabled=disabled, modules=valid.get(user_id, set()), requirements=requirements)
        holds = held.get(user_id, {})
        changes += [Change(user_id, email, tier) for tier in sorted(entitled - holds.keys())]
        changes += [Change(user_id, email, tier, holds[tier]) for tier in sorted(holds.keys() - entitled)]
    return changes


def _write(connection: Connection, changes: Sequence[Change], at: int) -> None:
    taken = [change for change in changes if change.taken]
    given = [change for change in changes if not change.taken]
    if taken:
        connection.execute(_TAKE, [{"taken_from": change.user_id, "taken_tier": change.tier} for change in taken])
        connection.execute(insert(user_messages), [_message(change, at) for change in taken])
    if given:
        connection.execute(
            insert(user_tiers),
            [{"user_id": change.user_id, "tier": change.tier, "since": at} for change in given],
        )
    connection.execute(insert(audit_log), [_audit_entry(change, at) for change in changes])


def _message(change: Change, at: int) -> dict[str, object]:
    return {
        # The same loss has the same key, whoever writes it and how often; a later loss has another `since`.
        "message_key": f"tier-taken/{change.user_id}/{change.tier}/{change.since}",
        "recipient": change.email,
        "body": f"Your access to the {change.tier} tier has ended. See the modules that it requires.",
        "created_at": at,
    }


def _audit_entry(change: Change, at: int) -> dict[str, object]:
    return {
        "at": at,
        "actor": ACTOR,
        "action": "take_tier" if change.taken else "give_tier",
        "object": f"users/{change.user_id}",
        "old": change.tier if change.taken else None,
        "new": None if change.taken else change.tier,
    }
