"""Who is logged in: a signed cookie that a log-in by token gives."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from itsdangerous import BadSignature, URLSafeTimedSerializer

from headrace.contract.principals import Principal

COOKIE = "headrace_session"
LIFETIME = 12 * 3_600
"""Seconds that a log-in lasts."""


@dataclass(frozen=True, slots=True)
class Session:
    """A person at a browser. `csrf` stands in every form of theirs, and nowhere else."""

    operator: Principal
    csrf: str

    @property
    def actor(self) -> str:
        """Who it is, for the audit."""
        return self.operator.name


class Sessions:
    """Opens and reads sessions. The key is made of the admin token: who changes the token ends all of them.

    A cookie names the token that was given, by its id; what it may do is asked anew at each request.
    """

    def __init__(self, admin_token: str) -> None:
        key = hmac.new(admin_token.encode(), b"headrace console sessions", sha256).digest()
        self._signer = URLSafeTimedSerializer(key, salt="console")

    def open(self, operator: Principal) -> tuple[Session, str]:
        """A new session, and the value of its cookie."""
        session = Session(operator, secrets.token_urlsafe(24))
        return session, str(self._signer.dumps([operator.id, session.csrf]))

    def read(self, cookie: str | None, by_id: Callable[[str], Principal | None]) -> Session | None:
        """The session that a cookie tells of; None when it is none of ours, too old, or its token is revoked."""
        if not cookie:
            return None
        try:
            token_id, csrf = self._signer.loads(cookie, max_age=LIFETIME)
        except (BadSignature, ValueError):
            return None
        operator = by_id(token_id)
        return None if operator is None else Session(operator, csrf)
