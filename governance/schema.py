"""Makes the tables of access governance, and refuses a database that another version made.

`python -m governance.schema [--database-url URL]` makes them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy import Connection, insert, inspect, select

from governance import access
from governance.tables import access_modules, access_tiers, metadata, schema_version, tier_requirements
from headrace.database import Database
from headrace.errors import StartError

VERSION = 2


@contextmanager
def open_database(url: str) -> Iterator[Database]:
    """The database at `url` with its tables made; closed in the end. StartError for another version."""
    database = Database(url)
    try:
        with database.write() as connection:
            create(connection)
        yield database
    finally:
        database.close()


def create(connection: Connection) -> None:
    """Make the tables in a database that has none, with the modules and the tiers; then `check`."""
    if not inspect(connection).has_table(schema_version.name):
        metadata.create_all(connection)
        connection.execute(insert(schema_version), [{"version": VERSION}])
        modules = [
            {"name": module.name, "expires_after_days": module.expires_after_days}
            for module in access.CONTROLLED_MODULES
        ]
        connection.execute(insert(access_modules), modules)
        connection.execute(insert(access_tiers), [{"name": tier} for tier in access.REQUIREMENTS])
        requirements = [
            {"tier": tier, "module": module}
            for tier, required in access.REQUIREMENTS.items()
            for module in sorted(required)
        ]
        connection.execute(insert(tier_requirements), requirements)
    check(connection)


def check(connection: Connection) -> None:
    """Raise StartError unless the tables are there in the version that this code knows."""
    found = None
    if inspect(connection).has_table(schema_version.name):
        found = connection.execute(select(schema_version.c.version)).scalar_one_or_none()
    if found != VERSION:
        raise StartError(
            f"The access governance tables are {'missing' if found is None else f'of version {found}'}; "
            f"this code needs version {VERSION}.",
            hint="Run python -m governance.schema on an empty database, or use the code that made this one.",
        )


@click.command()
@click.option("--database-url", envvar="HEADRACE_DATABASE_URL", required=True, help="SQLAlchemy URL of the database.")
def main(database_url: str) -> None:
    """Make the tables of access governance in a database that has none."""
    with open_database(database_url):
        click.echo(f"schema: version {VERSION}")


if __name__ == "__main__":
    main()
