"""Tokens of operators: issued once, known by their hash, revoked for good."""

import re
from hashlib import sha256

import pytest
from sqlalchemy import select

from headrace.clock import ManualClock
from headrace.contract.operations import Permission
from headrace.contract.principals import Principal, RootToken
from headrace.database import Database
from headrace.database.tables import tokens as token_table
from headrace.errors import BadRequest, Forbidden, NotFound, WrongState
from headrace.operators.tokens import Tokens
from tests.operators.deaths import audited


@pytest.fixture
def tokens(database: Database, clock: ManualClock) -> Tokens:
    return Tokens(database, clock, RootToken("the root's"))


def test_a_token_is_told_once_and_kept_as_its_hash_alone(tokens: Tokens, database: Database) -> None:
    issued = tokens.issue("ada", ["retry_task", "read"], actor="admin token")
    token = issued.pop("token")
    assert re.fullmatch(r"hr_[\w-]{43}", token)
    assert issued == {"id": issued["id"], "name": "ada", "permissions": ["read", "retry_task"]}
    with database.read() as connection:
        (row,) = connection.execute(select(token_table)).all()
    assert row.hash == sha256(token.encode()).hexdigest()
    assert token not in str(row)
    (shown,) = tokens.list(limit=10)
    assert (shown["name"], shown["created_by"], shown["last_used_at"]) == ("ada", "admin token", None)
    assert token not in str(shown)
    (written,) = audited(database)
    assert (written.actor, written.action, written.new) == ("admin token", "issue_token", "ada: read retry_task")
    assert token not in str(written)


def test_who_brings_it_is_known_by_it_and_by_its_id_until_it_is_revoked(tokens: Tokens, database: Database) -> None:
    issued = tokens.issue("ada", ["cancel"], actor="admin token")
    ada = Principal(str(issued["id"]), "ada", frozenset({Permission.CANCEL}))
    assert tokens.by_token(issued["token"]) == ada
    assert tokens.by_id(ada.id) == ada
    tokens.revoke(issued["id"], actor="grace")
    assert tokens.by_token(issued["token"]) is None
    assert tokens.by_id(ada.id) is None
    last = audited(database)[-1]
    assert (last.actor, last.action, last.object) == ("grace", "revoke_token", f"token/{ada.id}")
    with pytest.raises(WrongState, match="revoked already"):
        tokens.revoke(issued["id"], actor="grace")
    with pytest.raises(NotFound):
        tokens.revoke(4711, actor="grace")


@pytest.mark.parametrize("token", ["", "guess", "hr_", "hr_" + "a" * 43, "hr_" + "é" * 43, "x" * 10_000, "hr_\x00"])
def test_nobody_is_known_by_what_was_never_issued(tokens: Tokens, token: str) -> None:
    assert tokens.by_token(token) is None
    assert tokens.by_id(token) is None


def test_the_root_is_known_beside_the_issued_ones_and_may_everything(tokens: Tokens) -> None:
    root = tokens.by_token("the root's")
    assert root is not None
    assert tokens.by_id(root.id) == root
    assert (root.name, all(root.may(each) for each in Permission)) == ("admin token", True)


def test_a_root_that_is_not_set_is_nobodys(database: Database, clock: ManualClock) -> None:
    tokens = Tokens(database, clock, RootToken(None))
    assert (tokens.by_token(""), tokens.by_token("None"), tokens.by_id("root")) == (None, None, None)


def test_a_name_is_one_live_tokens_alone(tokens: Tokens) -> None:
    first = tokens.issue("ada", ["read"], actor="admin token")
    with pytest.raises(WrongState, match="There is a token ada already"):
        tokens.issue("ada", ["read"], actor="admin token")
    tokens.revoke(first["id"], actor="admin token")
    second = tokens.issue("ada", ["read"], actor="admin token")
    assert [(each["id"], each["revoked_at"] is None) for each in tokens.list(limit=10)] == [
        (second["id"], True),
        (first["id"], False),
    ]


@pytest.mark.parametrize("name", ["", " ada", "a\nb", "x" * 81, "admin token", "Admin Token"])
def test_a_name_that_would_mislead_the_audit_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(BadRequest):
        tokens.issue(name, ["read"], actor="admin token")


@pytest.mark.parametrize("permissions", [[], ["everything"], ["read", ""]])
def test_permissions_are_some_of_those_that_there_are(tokens: Tokens, permissions: list[str]) -> None:
    with pytest.raises(BadRequest, match="send_schedule"):
        tokens.issue("ada", permissions, actor="admin token")


def test_a_word_that_a_newer_version_wrote_permits_nothing(tokens: Tokens, database: Database) -> None:
    issued = tokens.issue("ada", ["read"], actor="admin token")
    with database.write() as connection:
        connection.execute(token_table.update().values(permissions="read fly"))
    ada = tokens.by_token(issued["token"])
    assert ada is not None
    assert ada.permissions == {Permission.READ}


def test_its_use_is_written_at_most_once_a_minute(tokens: Tokens, clock: ManualClock) -> None:
    token = tokens.issue("ada", ["read"], actor="admin token")["token"]

    def used_at() -> str:
        tokens.by_token(token)
        at: str = tokens.list(limit=1)[0]["last_used_at"]
        return at

    first = used_at()
    clock.advance(59.0)
    assert used_at() == first
    clock.advance(1.0)
    assert used_at() > first


def test_what_is_refused_is_in_the_audit_as_it_came(tokens: Tokens, database: Database) -> None:
    ada = Principal("7", "ada", frozenset({Permission.READ}))
    tokens.note_refusal(ada, Permission.CANCEL, "POST", "/api/v1/runs/\x00é/cancel" + "x" * 5_000)
    (row,) = audited(database)
    assert (row.actor, row.action, row.new) == ("ada", "refused", "needs cancel")
    assert row.object.startswith("POST /api/v1/runs/%00%C3%A9/cancelxxx")
    assert len(row.object) == 200


def test_whoever_asks_again_and_again_does_not_fill_the_audit(
    tokens: Tokens, database: Database, clock: ManualClock
) -> None:
    ada, bob = (Principal(name, name, frozenset({Permission.READ})) for name in ("ada", "bob"))

    def refuse(principal: Principal, path: str) -> int:
        tokens.note_refusal(principal, Permission.CANCEL, "POST", path)
        return len(audited(database))

    assert [refuse(ada, "/a"), refuse(ada, "/a"), refuse(bob, "/a"), refuse(ada, "/b")] == [1, 1, 2, 3]
    for number in range(300):
        refuse(ada, f"/{number}")
    assert len(audited(database)) == 101, "of one token, a hundred a minute"
    clock.advance(60.0)
    assert refuse(ada, "/a") == 102


def test_admin_is_everything_and_what_is_missing_is_named() -> None:
    admin = Principal("1", "root", frozenset({Permission.ADMIN}))
    ada = Principal("7", "ada", frozenset({Permission.READ}))
    assert all(admin.may(each) for each in Permission)
    assert [each for each in Permission if ada.may(each)] == [Permission.READ]
    error = ada.lacks(Permission.CANCEL)
    assert isinstance(error, Forbidden)
    assert "permission cancel, which the token ada" in str(error)
