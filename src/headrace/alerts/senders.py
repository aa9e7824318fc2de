"""Sends one message by one route: a JSON POST, a chat's webhook, a mail. Nothing waits longer than 5 s in a row."""

import hmac
import json
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Protocol
from urllib.parse import urlsplit

from headrace.alerts.messages import headline, tell
from headrace.config.alerts import Chat, Mail, Route, Webhook
from headrace.errors import HeadraceError

TIMEOUT = 5.0
SIGNATURE = "Headrace-Signature"
IDEMPOTENCY_KEY = "Idempotency-Key"


class SendError(HeadraceError):
    """A message could not be handed over; it is tried again."""

    code = "SEND_FAILED"


class Sender(Protocol):
    """Hands messages over."""

    def send(self, route: Route, message: dict[str, Any], key: str) -> None:
        """Send a message; who gets it twice knows it by `key`. Raises SendError."""
        ...

    def ping(self, url: str) -> None:
        """GET a URL. Raises SendError."""
        ...


@dataclass(frozen=True, slots=True)
class NetworkSender:
    """Sends over HTTP and SMTP."""

    timeout: float = TIMEOUT

    def send(self, route: Route, message: dict[str, Any], key: str) -> None:
        """See `Sender.send`."""
        match route.target:
            case Webhook(url, secret):
                self._post(url, json.dumps(message).encode(), key, secret)
            case Chat(url):
                self._post(url, json.dumps({"text": tell(message)}).encode(), key, None)
            case Mail() as mail:
                self._mail(mail, message, key)

    def ping(self, url: str) -> None:
        """See `Sender.ping`."""
        self._request("GET", url, None, {})

    def _post(self, url: str, body: bytes, key: str, secret: str | None) -> None:
        headers = {"Content-Type": "application/json", IDEMPOTENCY_KEY: key}
        if secret is not None:
            headers[SIGNATURE] = f"sha256={sign(secret, body)}"
        self._request("POST", url, body, headers)

    def _request(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
            try:
                connection.request(method, path, body, headers)
                status = connection.getresponse().status
            finally:
                connection.close()
        except (OSError, HTTPException, ValueError) as error:
            # The URL stays out of it: that of a chat is a secret.
            raise SendError(f"{parts.hostname} does not answer: {error or type(error).__name__}") from error
        if not 200 <= status < 300:
            raise SendError(f"{parts.hostname} answered {status}")

    def _mail(self, mail: Mail, message: dict[str, Any], key: str) -> None:
        # Imported here: most services send no mail.
        import smtplib

        letter = EmailMessage()
        letter["Subject"] = f"[Headrace] {headline(message)}"
        letter["From"], letter["To"] = mail.sender, ", ".join(mail.to)
        letter["Message-ID"] = f"<{key.replace('/', '.')}@{mail.sender.partition('@')[2]}>"
        letter.set_content(tell(message))
        try:
            with smtplib.SMTP(mail.host, mail.port, timeout=self.timeout) as smtp:
                if mail.starttls:
                    smtp.starttls(context=ssl.create_default_context())
                if mail.user is not None:
                    smtp.login(mail.user, mail.password or "")
                smtp.send_message(letter)
        except (OSError, smtplib.SMTPException) as error:
            raise SendError(f"{mail.host} took no mail: {error or type(error).__name__}") from error


def sign(secret: str, body: bytes) -> str:
    """The HMAC-SHA256 of a body in hex, with which a receiver sees that it is ours."""
    return hmac.new(secret.encode(), body, sha256).hexdigest()
