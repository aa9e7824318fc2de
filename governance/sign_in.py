"""Who a request is from: a user, by a bearer token. The tables have the tokens' digests alone.

`python -m governance.sign_in EMAIL` makes a new token for a user and prints it.
"""

import hashlib
import os
import secrets
import time
from pathlib import Path

import click
from sqlalchemy import Connection, insert, select

import headrace
from governance.schema import open_database
from governance.tables import user_tokens, users
from headrace.config.settings import load_settings


def caller_of(token: str | None) -> str | None:
    """The e-mail of the user whose token this is; None for no token, an unknown one, or a user who is disabled."""
    if token is None:
        return None
    with headrace.read() as connection:
        known = select(users.c.email).join(user_tokens)
        mine = known.where(user_tokens.c.digest == _digest(token), users.c.disabled.is_(False))
        return connection.execute(mine).scalar_one_or_none()


def make_token(connection: Connection, email: str, at: float) -> str:
    """A new token for a user, at the time `at` (epoch seconds). LookupError when there is no such user."""
    user_id = connection.execute(select(users.c.id).where(users.c.email == email)).scalar_one_or_none()
    if user_id is None:
        raise LookupError(f"There is no user {email}.")
    token = secrets.token_urlsafe(32)
    row = {"digest": _digest(token), "user_id": user_id, "created_at": int(at * 1000)}
    connection.execute(insert(user_tokens), [row])
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@click.command()
@click.argument("email")
@click.option("--database-url", envvar="HEADRACE_DATABASE_URL", help="SQLAlchemy URL.  [default: the service's own]")
def main(email: str, database_url: str | None) -> None:
    """Make a new token for the user with this e-mail, and print it."""
    if database_url is None:
        database_url = load_settings(os.environ, folder=Path(__file__).parent.parent).database_url
    with open_database(database_url) as database, database.write() as connection:
        try:
            token = make_token(connection, email, time.time())
        except LookupError as error:
            raise click.ClickException(str(error)) from error
    click.echo(token)


if __name__ == "__main__":
    main()
