"""Who may call: every program on loopback, and no web page; with a token set, whoever brings it.

The token comes from the environment alone, never from the command line, where every user of the machine sees it.
"""

import hmac
from collections.abc import Mapping
from functools import lru_cache

from headrace.cloud.errors import ApiError, Code
from headrace.engine.address import is_loopback, literal_address, split_authority
from headrace.errors import StartError

TOKEN_VARIABLE = "HEADRACE_QUEUE_SERVER_TOKEN"  # noqa: S105 - the name of a variable, not a secret
MIN_TOKEN_LENGTH = 16
"""Shortest token that is taken, in characters."""
_PRIVATE_DOMAINS = frozenset(("internal", "local", "localhost", "test"))
"""Top-level domains that are kept for names of no public host."""


class Access:
    """Checks the `authorization` of each call against the token; without a token every call may pass."""

    __slots__ = ("_expected",)

    def __init__(self, token: str | None) -> None:
        self._expected = None if token is None else b"Bearer " + token.encode()

    @property
    def is_needed(self) -> bool:
        """Whether calls have to bring a token."""
        return self._expected is not None

    def check(self, authorization: str | None) -> None:
        """Let a call pass, or raise ApiError: UNAUTHENTICATED. Takes the same time for every wrong token."""
        if self._expected is None:
            return
        if not hmac.compare_digest(self._expected, (authorization or "").encode()):
            raise ApiError(
                Code.UNAUTHENTICATED,
                "The call carries no valid token. Send it as 'authorization: Bearer TOKEN', where TOKEN is the "
                f"{TOKEN_VARIABLE} of the server.",
            )

    def check_page(self, origin: str | None, host: str) -> None:
        """Refuse what a web page may have sent, by two headers; ApiError: PERMISSION_DENIED.

        Any page that is open on this machine can send requests to loopback. It is known by its Origin, or, where
        its own name was made to lead to loopback, by a Host that public DNS can give out. No page has the token.
        """
        if self._expected is None and not ((origin is None or _is_local_page(origin)) and _is_private(host)):
            raise ApiError(
                Code.PERMISSION_DENIED,
                f"Web pages of other hosts may not call this server, nor may it go by the name {host[:200]!r}. "
                f"Call it as localhost, or set {TOKEN_VARIABLE}.",
            )


def _is_local_page(origin: str) -> bool:
    scheme, _, authority = origin.partition("://")
    return scheme in ("http", "https") and is_loopback(_name_of(authority))


@lru_cache(maxsize=64)
def _is_private(host: str) -> bool:
    """Whether a Host is an address, or a name that public DNS does not give out (RFC 6761, RFC 6762)."""
    name = _name_of(host)
    return name.rpartition(".")[2] in _PRIVATE_DOMAINS or "." not in name or literal_address(name) is not None


def _name_of(authority: str) -> str:
    """The host without its port, in lower case; what is no authority is a name that nobody has."""
    try:
        return split_authority(authority)[0]
    except ValueError:
        return "no.authority"


def read_token(environment: Mapping[str, str]) -> str | None:
    """The token that calls must bring; None when the variable is absent or empty. Raises StartError for a bad one."""
    token = environment.get(TOKEN_VARIABLE, "")
    if not token:
        return None
    if len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
        raise StartError(
            f"{TOKEN_VARIABLE} must be {MIN_TOKEN_LENGTH} or more printable ASCII characters without a space.",
            hint="Make one with: openssl rand -hex 32",
        )
    return token


def check_host(host: str, token: str | None) -> None:
    """Raise StartError where the server would listen off loopback and ask for no token."""
    if token is None and not is_loopback(host):
        raise StartError(
            f"Listening on {host} lets others call, and no token is set.",
            hint=f"Set {TOKEN_VARIABLE} to {MIN_TOKEN_LENGTH} or more random characters, or leave --host out.",
        )
