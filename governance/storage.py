"""A stand-in for a storage vendor, who makes buckets and takes idempotency keys. Its table is another party's."""

from sqlalchemy import delete, select

import headrace
from governance.tables import storage_buckets
from governance.upsert import insert_missing


def make_bucket(name: str, idempotency_key: str) -> str:
    """Make a bucket; its name. A second call with the same key makes none, and answers the first one's name."""
    with headrace.transaction() as connection:
        insert_missing(connection, storage_buckets, [{"name": name, "idempotency_key": idempotency_key}])
        made = select(storage_buckets.c.name).where(storage_buckets.c.idempotency_key == idempotency_key)
        return str(connection.execute(made).scalar_one())


def drop_bucket(name: str) -> None:
    """Delete a bucket, if there is one of this name."""
    with headrace.transaction() as connection:
        connection.execute(delete(storage_buckets).where(storage_buckets.c.name == name))
