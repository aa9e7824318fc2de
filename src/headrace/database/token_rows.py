"""Queries of the tokens of operators. Times are epoch milliseconds."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, or_, select, update

from headrace.database.key_rows import lock_key
from headrace.database.tables import tokens


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token without what only its bearer knows. `permissions` are words with a blank between.

    `last_used_at` may be a minute behind; `revoked_at` is None while it is live.
    """

    id: int
    name: str
    permissions: str
    created_at: int
    created_by: str
    last_used_at: int | None
    revoked_at: int | None


_COLUMNS = [tokens.c[name] for name in TokenRow.__dataclass_fields__]


def lock_tokens(connection: Connection) -> None:
    """Keep others who change tokens waiting until the transaction ends."""
    lock_key(connection, "headrace/tokens")


def insert_token(connection: Connection, *, name: str, hash: str, permissions: str, now: int, actor: str) -> int:
    """Write a live token; its id. No other live one has its name: see `find_live_name`."""
    values = {"name": name, "hash": hash, "permissions": permissions, "created_at": now, "created_by": actor}
    return int(connection.execute(insert(tokens).values(values).returning(tokens.c.id)).scalar_one())


def find_live_by_hash(connection: Connection, hash: str) -> TokenRow | None:
    """The live token of a hash."""
    row = connection.execute(
        select(*_COLUMNS).where(tokens.c.hash == hash, tokens.c.revoked_at.is_(None))
    ).one_or_none()
    return None if row is None else TokenRow(**row._mapping)


def find_live_name(connection: Connection, name: str) -> TokenRow | None:
    """The live token of a name."""
    row = connection.execute(
        select(*_COLUMNS).where(tokens.c.name == name, tokens.c.revoked_at.is_(None))
    ).one_or_none()
    return None if row is None else TokenRow(**row._mapping)


def find_token(connection: Connection, token_id: int) -> TokenRow | None:
    """One token, live or revoked."""
    row = connection.execute(select(*_COLUMNS).where(tokens.c.id == token_id)).one_or_none()
    return None if row is None else TokenRow(**row._mapping)


def list_tokens(connection: Connection, *, limit: int) -> list[TokenRow]:
    """Those that are live first, then the revoked; the newest of each first."""
    statement = select(*_COLUMNS).order_by(tokens.c.revoked_at.is_not(None), tokens.c.id.desc()).limit(limit)
    return [TokenRow(**row._mapping) for row in connection.execute(statement)]


def revoke_token(connection: Connection, token_id: int, *, now: int) -> bool:
    """End a token; False when it is none that is live."""
    live = (tokens.c.id == token_id) & tokens.c.revoked_at.is_(None)
    return connection.execute(update(tokens).where(live).values(revoked_at=now)).rowcount == 1


def note_use(connection: Connection, token_id: int, *, now: int, unless_since: int) -> None:
    """Write that a token is in use, unless that was written since a time."""
    stale = or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at <= unless_since)
    connection.execute(update(tokens).where(tokens.c.id == token_id, stale).values(last_used_at=now))
