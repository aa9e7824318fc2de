"""The message of a notification: one document, as JSON, as a line of text, as a mail. Pure."""

from typing import Any

from headrace.clock import rfc3339
from headrace.database.alert_rows import AlertRow, AlertState


def describe(alert: AlertRow, *, now: int, service_url: str) -> dict[str, Any]:
    """What a webhook gets; the others show the same."""
    return {
        "state": alert.state.value,
        "rule": alert.rule,
        "object": alert.object,
        "detail": alert.detail,
        "fired_at": rfc3339(alert.fired_at),
        "at": rfc3339(now),
        "service": service_url,
        "page": f"{service_url}/console/alerts",
    }


def headline(message: dict[str, Any]) -> str:
    """One line, free of line breaks: whatever an object is called, it adds no header to a mail."""
    word = "Firing" if message["state"] == AlertState.FIRING else "Resolved"
    return " ".join(f"{word}: {message['rule']} {message['object']}".split())


def tell(message: dict[str, Any]) -> str:
    """All of it, for people."""
    return f"{headline(message)}\n{message['detail']}\nSince {message['fired_at']}. {message['page']}"
