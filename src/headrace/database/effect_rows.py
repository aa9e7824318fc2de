"""Queries of effects: what must happen once, and whether it did. Times are epoch milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.engine import Row

from headrace.database.states import EffectState
from headrace.database.tables import effects


@dataclass(frozen=True, slots=True)
class EffectRow:
    """An effect of a batch. `result` is JSON text; `error` is what it raised when it was left in doubt.

    `repeatable`: whoever it reaches knows its idempotency key, so that it is called again without a person's leave.
    """

    batch_id: int
    key: str
    run_id: str
    state: EffectState
    repeatable: bool
    result: str | None
    error: str
    begun_at: int
    done_at: int | None

    @property
    def in_doubt(self) -> bool:
        """Whether nobody knows if it happened, and it must not happen twice."""
        return self.state is EffectState.BEGUN and not self.repeatable


_COLUMNS = [effects.c[name] for name in EffectRow.__dataclass_fields__]
_in_doubt = (effects.c.state == EffectState.BEGUN, effects.c.repeatable.is_(False))


def find_effect(connection: Connection, batch_id: int, key: str) -> EffectRow | None:
    """The effect, or None: it was never begun, or taken back."""
    row = connection.execute(select(*_COLUMNS).where(*_is(batch_id, key))).one_or_none()
    return None if row is None else _effect(row)


def list_effects(connection: Connection, batch_id: int) -> list[EffectRow]:
    """A batch's effects, in the order in which they were begun."""
    return effects_of(connection, [batch_id])[batch_id]


def effects_of(connection: Connection, batch_ids: Sequence[int]) -> dict[int, list[EffectRow]]:
    """The effects of several batches, each batch's in the order in which they were begun."""
    found: dict[int, list[EffectRow]] = {batch_id: [] for batch_id in batch_ids}
    statement = select(*_COLUMNS).where(effects.c.batch_id.in_(batch_ids)).order_by(effects.c.begun_at, effects.c.key)
    for row in connection.execute(statement):
        effect = _effect(row)
        found[effect.batch_id].append(effect)
    return found


def begin_effect(connection: Connection, batch_id: int, key: str, *, run_id: str, repeatable: bool, now: int) -> None:
    """Write that an effect is about to happen."""
    values = {"run_id": run_id, "state": EffectState.BEGUN, "repeatable": repeatable, "begun_at": now}
    connection.execute(insert(effects).values(batch_id=batch_id, key=key, **values))


def note_error(connection: Connection, batch_id: int, key: str, error: str) -> None:
    """Keep what an effect raised that may have happened all the same."""
    connection.execute(update(effects).where(*_is(batch_id, key)).values(error=error))


def end_effect(connection: Connection, batch_id: int, key: str, *, result: str, now: int) -> None:
    """Write that an effect has happened, with its result."""
    values = {"state": EffectState.DONE, "result": result, "error": "", "done_at": now}
    connection.execute(update(effects).where(*_is(batch_id, key)).values(values))


def take_back(connection: Connection, batch_id: int, key: str) -> None:
    """Forget an effect that certainly did not happen."""
    connection.execute(delete(effects).where(*_is(batch_id, key)))


def settle_effects(connection: Connection, batch_id: int, *, done: bool, now: int) -> int:
    """What is in doubt has happened, without a result that is known; or, when not `done`, it has not. How many."""
    mine = (effects.c.batch_id == batch_id, *_in_doubt)
    if done:
        statement = update(effects).where(*mine).values(state=EffectState.DONE, done_at=now)
        return connection.execute(statement).rowcount
    return connection.execute(delete(effects).where(*mine)).rowcount


def _is(batch_id: int, key: str) -> tuple[Any, Any]:
    return effects.c.batch_id == batch_id, effects.c.key == key


def _effect(row: Row[Any]) -> EffectRow:
    values = dict(row._mapping)
    values["state"] = EffectState(values["state"])
    return EffectRow(**values)
