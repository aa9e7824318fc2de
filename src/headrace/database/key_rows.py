"""Queries of keys: what refuses a second push of the same. Times are epoch milliseconds."""

from sqlalchemy import Connection, delete, func, insert, select, update

from headrace.database.tables import keys


def lock_key(connection: Connection, key: str) -> None:
    """Keep others who ask for this key waiting until the transaction ends. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))


def find_key(connection: Connection, key: str, *, now: int) -> str | None:
    """The run that took a key which has not expired, or None."""
    statement = select(keys.c.run_id).where(keys.c.key == key, keys.c.expires_at > now)
    return connection.execute(statement).scalar_one_or_none()


def keep_key(connection: Connection, key: str, *, run_id: str, expires_at: int) -> None:
    """Take a key for a run. Hold it by `lock_key`, and see that nobody has it, before."""
    values = {"run_id": run_id, "expires_at": expires_at}
    if connection.execute(update(keys).where(keys.c.key == key).values(values)).rowcount == 0:
        connection.execute(insert(keys).values(key=key, **values))


def purge_keys(connection: Connection, *, now: int, limit: int) -> int:
    """Delete keys that have expired; how many."""
    old = select(keys.c.key).where(keys.c.expires_at <= now).order_by(keys.c.expires_at).limit(limit)
    return connection.execute(delete(keys).where(keys.c.key.in_(old.scalar_subquery()))).rowcount
