"""Operators: who brings a token of the admin API, and what may be done with it."""

from dataclasses import dataclass
from hmac import compare_digest
from typing import Protocol

from headrace.contract.operations import Permission
from headrace.errors import Forbidden

ROOT = "admin token"
"""The name of who brings HEADRACE_ADMIN_TOKEN; no other token may be called so."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who brings a token. `id` names the token, `name` the operator, for the audit."""

    id: str
    name: str
    permissions: frozenset[Permission]

    def may(self, permission: Permission) -> bool:
        """Whether that may be done; `admin` is everything."""
        return permission in self.permissions or Permission.ADMIN in self.permissions

    def lacks(self, permission: Permission) -> Forbidden:
        """Why that may not be done, to be raised."""
        return Forbidden(
            f"This needs the permission {permission}, which the token {self.name} does not have.",
            hint="Whoever has the permission admin can issue a token that has it.",
        )


class Authenticator(Protocol):
    """Knows the tokens of operators. Thread-safe."""

    def by_token(self, token: str) -> Principal | None:
        """Who brings this token; None for one that is unknown or revoked."""
        ...

    def by_id(self, token_id: str) -> Principal | None:
        """Who brought the token of this id; None when it is revoked."""
        ...

    def note_refusal(self, principal: Principal, permission: Permission, method: str, path: str) -> None:
        """Have the audit say that this request was refused, for want of the permission."""
        ...


@dataclass(frozen=True, slots=True)
class RootToken:
    """Knows one token alone, such as HEADRACE_ADMIN_TOKEN. It may do everything, so nothing is ever refused.

    A token of None knows nobody.
    """

    token: str | None
    name: str = ROOT

    def by_token(self, token: str) -> Principal | None:
        """See `Authenticator.by_token`."""
        if self.token is None or not compare_digest(token.encode(), self.token.encode()):
            return None
        return everything(self.name)

    def by_id(self, token_id: str) -> Principal | None:
        """See `Authenticator.by_id`."""
        return everything(self.name) if self.token is not None and token_id == _ROOT_ID else None

    def note_refusal(self, principal: Principal, permission: Permission, method: str, path: str) -> None:
        """See `Authenticator.note_refusal`."""


_ROOT_ID = "root"


def everything(name: str) -> Principal:
    """An operator who may do everything, by no token that was issued."""
    return Principal(_ROOT_ID, name, frozenset({Permission.ADMIN}))
