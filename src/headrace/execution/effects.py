"""Effects: what must happen once, whatever becomes of the attempts that cause it.

An effect is begun (committed), called, and done (committed). Who dies in between leaves it in doubt.
"""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import orjson
from sqlalchemy import Connection

from headrace.database import effect_rows
from headrace.database.effect_rows import EffectRow
from headrace.database.states import EffectState
from headrace.errors import EffectNotDone
from headrace.execution.control import InDoubt
from headrace.execution.hold import Hold
from headrace.execution.verdicts import text_of

T = TypeVar("T")


def name_effect(run_id: str, batch_id: int, key: str) -> str:
    """The idempotency key of an effect, 32 hex digits: the same in every attempt of its batch."""
    return hashlib.sha256(f"{run_id}/{batch_id}/{key}".encode()).hexdigest()[:32]


def do_once(hold: Hold, key: str, effect: Callable[[str], T], *, repeatable: bool) -> T:
    """Call `effect` with its idempotency key, unless an attempt has done so before. See `Batch.once`."""
    hold.stop_if_cancelled()
    lease = hold.lease

    def begin(connection: Connection) -> EffectRow | None:
        known = effect_rows.find_effect(connection, lease.batch_id, key)
        if known is None:
            effect_rows.begin_effect(
                connection, lease.batch_id, key, run_id=lease.run_id, repeatable=repeatable, now=hold.now_ms()
            )
        return known

    def end(connection: Connection) -> None:
        effect_rows.end_effect(connection, lease.batch_id, key, result=text, now=hold.now_ms())

    known = hold.write(begin)
    if known is not None and known.in_doubt:
        raise InDoubt(f"Effect {key!r} was begun by an attempt that never said how it ended.")
    if known is not None and known.state is EffectState.DONE:
        text = known.result or "null"
    else:
        text = _call(hold, key, effect, repeatable)
        hold.write(end)
    result: T = orjson.loads(text)
    return result


def _call(hold: Hold, key: str, effect: Callable[[str], object], repeatable: bool) -> str:
    batch_id = hold.lease.batch_id
    try:
        return orjson.dumps(effect(name_effect(hold.lease.run_id, batch_id, key))).decode()
    except EffectNotDone:
        hold.write(lambda connection: effect_rows.take_back(connection, batch_id, key))
        raise
    except Exception as error:
        text = text_of(error)
        hold.write(lambda connection: effect_rows.note_error(connection, batch_id, key, text))
        if repeatable:
            raise
        raise InDoubt(f"Effect {key!r} raised, and may have happened all the same: {text}") from error
