"""Who is logged in: a signed cookie that a log-in by token gives."""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256

from itsdangerous import BadSignature, URLSafeTimedSerializer

COOKIE = "headrace_session"
LIFETIME = 12 * 3_600
"""Seconds that a log-in lasts."""


@dataclass(frozen=True, slots=True)
class Session:
    """A person at a browser. `csrf` stands in every form of theirs, and nowhere else."""

    actor: str
    csrf: str


class Sessions:
    """Opens and reads sessions. The key is made of the admin token: who changes the token ends all of them."""

    def __init__(self, admin_token: str) -> None:
        key = hmac.new(admin_token.encode(), b"headrace console sessions", sha256).digest()
        self._signer = URLSafeTimedSerializer(key, salt="console")

    def open(self, actor: str) -> tuple[Session, str]:
        """A new session, and the value of its cookie."""
        session = Session(actor, secrets.token_urlsafe(24))
        return session, str(self._signer.dumps([session.actor, session.csrf]))

    def read(self, cookie: str | None) -> Session | None:
        """The session that a cookie tells of; None when it is none of ours, or too old."""
        if not cookie:
            return None
        try:
            actor, csrf = self._signer.loads(cookie, max_age=LIFETIME)
        except (BadSignature, ValueError):
            return None
        return Session(actor, csrf)
