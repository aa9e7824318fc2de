"""Documents of a queue server's own API as the rows that its pages show (see queue_parts.html). Pure."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.drivers.queues import hide_secrets
from headrace.errors import NotFound

Row = dict[str, Any]

_RATE = {
    "rate_per_second": "maxDispatchesPerSecond",
    "bucket_size": "maxBurstSize",
    "max_concurrent_requests": "maxConcurrentDispatches",
}
_RETRY = {
    "max_attempts": "maxAttempts",
    "max_duration": "maxRetryDuration",
    "min_backoff": "minBackoff",
    "max_backoff": "maxBackoff",
    "max_doublings": "maxDoublings",
}
_SECTIONS = {"rateLimits": _RATE, "retryConfig": _RETRY}
_SEPARATOR = "~"


@dataclass(frozen=True, slots=True)
class Names:
    """Full names and the short ones of pages: the id alone where it is in the server's own project and location.

    Elsewhere it is `project~location~id`; none of the three can have a `~` of its own.
    """

    project: str
    location: str

    def short(self, full: str) -> str:
        """The short name of a queue or a job."""
        _, project, _, location, _, own = full.split("/", 5)
        if (project, location) == (self.project, self.location):
            return own
        return _SEPARATOR.join((project, location, own))

    def full(self, short: str, kind: str) -> str:
        """The full name of a short one; `kind` is queues or jobs. Raises NotFound for what is no short name."""
        parts = short.split(_SEPARATOR)
        if len(parts) == 1:
            parts = [self.project, self.location, short]
        if len(parts) != 3 or "/" in short:
            raise NotFound(f"There is nothing of the name {short[:100]!r}.")
        project, location, own = parts
        return f"projects/{project}/locations/{location}/{kind}/{own}"


def queue_row(document: Mapping[str, Any], names: Names, now: float) -> Row:
    """A queue as pages show it."""
    due = document["oldestDue"]
    age = None if due is None else now - datetime.fromisoformat(due).timestamp()
    return {
        "queue": names.short(document["name"]),
        "state": document["state"].lower(),
        "limits": _read_limits(document),
        "declared": None if document["declared"] is None else _read_limits(document["declared"]),
        "set_by": document["setBy"],
        "waiting": document["pending"],
        "running": document["inFlight"],
        "oldest_age": age if age is not None and age >= 0 else None,
        "chart": document.get("chart"),
    }


def limits_request(limits: Mapping[str, float]) -> Row:
    """Limits by the names of pages as the API takes them."""
    return {
        section: {theirs: limits[ours] for ours, theirs in words.items() if ours in limits}
        for section, words in _SECTIONS.items()
    }


def task_row(document: Mapping[str, Any]) -> Row:
    """A stored task as pages show it."""
    return {
        "task": document["name"].rpartition("/")[2],
        "created_at": document["createTime"],
        "schedule_at": document["scheduleTime"],
        "dispatch_count": document["dispatchCount"],
        "last_status": document["lastStatus"],
        "why": document["why"],
        **_request(document["request"]),
    }


def delivery_row(document: Mapping[str, Any]) -> Row:
    """A delivery as pages show it."""
    return {
        "task": document["task"].rpartition("/")[2],
        "number": document["number"],
        "started_at": document["startTime"],
        "seconds": document["seconds"],
        "status": document["status"],
        "error": document["error"],
        "head": document["responseHead"],
        **_request(document["request"]),
    }


def audit_row(document: Mapping[str, Any], names: Names) -> Row:
    """An entry of the audit: `object` and the `path` of its page, and what it changed as (what, old, new), in words."""
    old, new = (dict(_leaves(document[side])) for side in ("old", "new"))
    changes = [
        (name, _word(old.get(name)), _word(new.get(name))) for name in {**old, **new} if old.get(name) != new.get(name)
    ]
    owner, _, task = document["object"].partition("/tasks/")
    short = names.short(owner)
    path = f"/queues/{short}{'/tasks/' if task else ''}{task}" if "/queues/" in owner else "/schedules"
    return {
        "at": document["at"],
        "actor": document["actor"],
        "action": document["action"].replace("_", " "),
        "object": f"{task} of {short}" if task else short,
        "path": path,
        "changes": changes,
    }


def _word(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _read_limits(document: Mapping[str, Any]) -> Row:
    return {ours: document[section][theirs] for section, words in _SECTIONS.items() for ours, theirs in words.items()}


def _request(document: Mapping[str, Any]) -> Row:
    return {
        "method": document["method"],
        "url": document["url"],
        "headers": hide_secrets(document["headers"]),
        "body": base64.b64decode(document["body"]),
    }


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values within a document, by their own names; one that is no object has none."""
    if isinstance(value, dict):
        for inner, each in value.items():
            yield from _leaves(each, inner)
    elif value is not None:
        yield name, value
