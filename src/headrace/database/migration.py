"""The schema's version: Alembic migrations, kept apart from the application's own by their version table."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from headrace.database.connection import Database
from headrace.errors import StartError

VERSION_TABLE = "headrace_version"


def upgrade(database: Database) -> None:
    """Bring the tables to this program's version.

    Raises:
        StartError: the database is of a newer version, or cannot be opened.
    """
    try:
        with database.write() as connection:
            _refuse_newer(_revision(connection))
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise _unusable(error) from error


def check(database: Database) -> None:
    """See that the tables are of this program's version.

    Raises:
        StartError: they are older, newer, or cannot be read; one line that says what to do.
    """
    try:
        with database.read() as connection:
            revision = _revision(connection)
    except DBAPIError as error:
        raise _unusable(error) from error
    _refuse_newer(revision)
    if revision != head():
        state = "has no tables of Headrace" if revision is None else f"is of version {revision}"
        raise StartError(f"The database {state}.", hint="Run: headrace database upgrade")


def head() -> str:
    """The version that this program works with."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _refuse_newer(revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise StartError(
            f"The database is of version {revision}, which is newer than this Headrace knows ({head()}).",
            hint="Install the newer Headrace, or point HEADRACE_DATABASE_URL at another database.",
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _unusable(error: DBAPIError) -> StartError:
    reason = str(error.orig).strip().splitlines()[0]
    return StartError(
        f"The database cannot be used: {reason}.",
        hint="See that HEADRACE_DATABASE_URL names it and that its file or server can be reached and written.",
    )
