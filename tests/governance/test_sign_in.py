"""A user's token is known by its digest alone."""

import hashlib
from collections.abc import Callable
from typing import Any

from click.testing import CliRunner

from governance import sign_in
from governance.tables import user_tokens
from headrace.database import Database


def test_the_command_prints_a_token_and_the_table_has_its_digest(
    database: Database,
    database_url: str,
    add_user: Callable[..., None],
    rows: Callable[..., list[dict[str, Any]]],
):
    add_user(1)
    result = CliRunner().invoke(sign_in.main, ["user1@example.org", "--database-url", database_url])
    assert result.exit_code == 0
    (row,) = rows(user_tokens)
    assert row["digest"] == hashlib.sha256(result.output.strip().encode()).hexdigest()
    assert row["user_id"] == 1


def test_there_is_no_token_for_nobody(database: Database, database_url: str):
    result = CliRunner().invoke(sign_in.main, ["nobody@example.org", "--database-url", database_url])
    assert result.exit_code == 1
    assert "There is no user nobody@example.org." in result.output
