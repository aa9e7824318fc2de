"""The yardstick: the main job's rules and SQL in a plain loop, with no queue, no run and no HTTP.

`python -m governance.loop --database-url URL`
"""

import time
from itertools import islice

import click

from governance.schema import open_database
from governance.synchronization import synchronize
from governance.users import ids_after
from headrace.database import Database

BATCH = 50


def synchronize_all(database: Database, at: float, *, batch: int = BATCH) -> int:
    """Synchronise every user at `at` (epoch seconds), one transaction a batch; the number of users."""
    count = 0
    with database.read() as reader:
        ids = ids_after(reader, None)
        while user_ids := list(islice(ids, batch)):
            with database.write() as connection:
                count += synchronize(connection, user_ids, at).users
    return count


@click.command()
@click.option("--database-url", envvar="HEADRACE_DATABASE_URL", required=True, help="SQLAlchemy URL of the database.")
def main(database_url: str) -> None:
    """Synchronise every user in a plain loop, and say how fast that was."""
    with open_database(database_url) as database:
        started = time.monotonic()
        count = synchronize_all(database, time.time())
        seconds = time.monotonic() - started
    click.echo(f"loop: {count} users in {seconds:.1f} s, {count / seconds:.0f} users a second")


if __name__ == "__main__":
    main()
