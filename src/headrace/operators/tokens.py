"""Tokens of operators: who may do what by the admin API and in the console."""

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from headrace.clock import Clock, rfc3339
from headrace.contract.operations import Permission
from headrace.contract.principals import ROOT, Principal, RootToken
from headrace.database import Database, audit_rows, token_rows
from headrace.database.token_rows import TokenRow
from headrace.errors import BadRequest, NotFound, WrongState

LONGEST_NAME = 80
_PREFIX = "hr_"
_RANDOM_BYTES = 32
_LENGTH = len(_PREFIX) + len(secrets.token_urlsafe(_RANDOM_BYTES))
_LONGEST_OBJECT = 200
_REFUSALS = 100
# Milliseconds between two writes of a token's use: most requests only read.
_USE_EVERY = 60_000
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Tokens:
    """Issues, lists and revokes tokens, each with a row of the audit; knows them, and `root`, as an `Authenticator`.

    A token is `hr_` and 32 random bytes; the database has its hash alone. It is live in every process until it is
    revoked. Times in answers are RFC 3339 in UTC.
    """

    database: Database
    clock: Clock
    root: RootToken
    _refusals: "_Refusals" = field(default_factory=lambda: _Refusals())

    def list(self, *, limit: int) -> Sequence[dict[str, Any]]:
        """Tokens, at most `limit`: those that are live first, the newest first."""
        with self.database.read() as connection:
            rows = token_rows.list_tokens(connection, limit=limit)
        return [_shown(row) for row in rows]

    def issue(self, name: str, permissions: Sequence[str], *, actor: str) -> dict[str, Any]:
        """Make a token; the answer has it as `token`, and nothing tells it ever again.

        Raises:
            BadRequest: the name is no name, or the permissions are none.
            WrongState: a live token has the name.
        """
        _check_name(name)
        granted = _read_permissions(permissions)
        token = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        words, now = " ".join(granted), self._now()
        with self.database.write() as connection:
            token_rows.lock_tokens(connection)
            if token_rows.find_live_name(connection, name) is not None:
                raise WrongState(f"There is a token {name} already.", hint="Revoke it, or take another name.")
            token_id = token_rows.insert_token(
                connection, name=name, hash=_hash(token), permissions=words, now=now, actor=actor
            )
            audit_rows.record(
                connection,
                at=now,
                actor=actor,
                action="issue_token",
                object=f"token/{token_id}",
                new=f"{name}: {words}",
            )
        return {"id": token_id, "name": name, "permissions": granted, "token": token}

    def revoke(self, token_id: int, *, actor: str) -> None:
        """End a token: its requests are refused from now on, and log-ins with it are over.

        Raises:
            NotFound: there is no such token.
            WrongState: it is revoked already.
        """
        now = self._now()
        with self.database.write() as connection:
            row = token_rows.find_token(connection, token_id)
            if row is None:
                raise NotFound(f"There is no token {token_id}.", hint="GET /api/v1/tokens lists them.")
            if not token_rows.revoke_token(connection, token_id, now=now):
                raise WrongState(f"Token {token_id} is revoked already.")
            audit_rows.record(
                connection,
                at=now,
                actor=actor,
                action="revoke_token",
                object=f"token/{token_id}",
                old=f"{row.name}: {row.permissions}",
            )

    def by_token(self, token: str) -> Principal | None:
        """See `Authenticator.by_token`."""
        if not token.startswith(_PREFIX) or len(token) != _LENGTH:
            return self.root.by_token(token)
        with self.database.read() as connection:
            row = token_rows.find_live_by_hash(connection, _hash(token))
        return self.root.by_token(token) if row is None else self._in_use(row)

    def by_id(self, token_id: str) -> Principal | None:
        """See `Authenticator.by_id`."""
        if not token_id.isdecimal() or int(token_id) > _LARGEST_ID:
            return self.root.by_id(token_id)
        with self.database.read() as connection:
            row = token_rows.find_token(connection, int(token_id))
        return None if row is None or row.revoked_at is not None else self._in_use(row)

    def note_refusal(self, principal: Principal, permission: Permission, method: str, path: str) -> None:
        """See `Authenticator.note_refusal`."""
        asked = f"{method} {quote(path, safe='/:')}"[:_LONGEST_OBJECT]
        if not self._refusals.may_note(principal.id, asked, self._now()):
            return
        with self.database.write() as connection:
            audit_rows.record(
                connection,
                at=self._now(),
                actor=principal.name,
                action="refused",
                object=asked,
                new=f"needs {permission}",
            )

    def _in_use(self, row: TokenRow) -> Principal:
        since = self._now() - _USE_EVERY
        if row.last_used_at is None or row.last_used_at <= since:
            with self.database.write(durable=False) as connection:
                token_rows.note_use(connection, row.id, now=self._now(), unless_since=since)
        return Principal(str(row.id), row.name, frozenset(_permissions(row)))

    def _now(self) -> int:
        return int(self.clock.now() * 1000)


@dataclass(slots=True)
class _Refusals:
    """Keeps whoever asks again and again from filling the audit: in each minute, of one token, one row for what it was
    refused, and rows for `_REFUSALS` such things at most."""

    minute: int = 0
    noted: dict[str, set[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def may_note(self, token_id: str, asked: str, now: int) -> bool:
        """Whether this is to be written; `now` in epoch milliseconds."""
        with self.lock:
            if now // 60_000 != self.minute:
                self.minute, self.noted = now // 60_000, {}
            noted = self.noted.setdefault(token_id, set())
            if asked in noted or len(noted) >= _REFUSALS:
                return False
            noted.add(asked)
            return True


def _hash(token: str) -> str:
    # What is random enough needs no slow hash.
    return sha256(token.encode()).hexdigest()


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise BadRequest(f"A token's name is 1 to {LONGEST_NAME} characters that can be read.", pointer="/name")
    if name.casefold() == ROOT:
        raise BadRequest(f"{name} is what the audit calls HEADRACE_ADMIN_TOKEN.", pointer="/name")


def _read_permissions(words: Sequence[str]) -> Sequence[Permission]:
    unknown = set(words) - set(Permission)
    if unknown or not words:
        raise BadRequest(f"A token has one or more of {', '.join(Permission)}.", pointer="/permissions")
    return [each for each in Permission if each in words]


def _permissions(row: TokenRow) -> Sequence[Permission]:
    # A word that this version does not know permits nothing.
    words = row.permissions.split()
    return [each for each in Permission if each in words]


def _shown(row: TokenRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "permissions": _permissions(row),
        "created_at": rfc3339(row.created_at),
        "created_by": row.created_by,
        "last_used_at": None if row.last_used_at is None else rfc3339(row.last_used_at),
        "revoked_at": None if row.revoked_at is None else rfc3339(row.revoked_at),
    }
