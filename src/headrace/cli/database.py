"""`headrace database`: the tables of runs."""

import os
from pathlib import Path

import click

from headrace.config.settings import Settings, load_settings
from headrace.database import Database, migration


@click.group("database")
def command() -> None:
    """Create and migrate the tables that Headrace keeps in the application's database."""


def _open(folder: Path) -> tuple[Settings, Database]:
    settings = load_settings(os.environ, folder=folder)
    return settings, Database(settings.database_url)


@command.command("upgrade")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
def upgrade(folder: Path) -> None:
    """Bring the tables of FOLDER's application (HEADRACE_DATABASE_URL) to this version of Headrace.

    Safe to run again: what is there is left alone.
    """
    settings, database = _open(folder)
    if database.is_sqlite:
        settings.data.mkdir(parents=True, exist_ok=True)
    migration.upgrade(database)
    database.close()
    click.echo(f"The database is at version {migration.head()}.")


@command.command("check")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
def check(folder: Path) -> None:
    """See whether the tables are of this version of Headrace; exits with 1 and says what to do when not."""
    _, database = _open(folder)
    migration.check(database)
    database.close()
    click.echo(f"The database is at version {migration.head()}.")
