"""Who may call: everybody on loopback; with a token set, whoever brings it.

The token comes from the environment alone, never from the command line, where every user of the machine sees it.
"""

import hmac
from collections.abc import Mapping

from headrace.cloud.errors import ApiError, Code
from headrace.cloud.task_requests import is_loopback
from headrace.errors import StartError

TOKEN_VARIABLE = "HEADRACE_QUEUE_SERVER_TOKEN"  # noqa: S105 - the name of a variable, not a secret
MIN_TOKEN_LENGTH = 16
"""Shortest token that is taken, in characters."""


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
