"""What an application has pushed onto a queue, as the server shows it, and whether it is what a test expects. Pure."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Body: TypeAlias = bytes | str | dict[str, Any] | list[Any]


@dataclass(frozen=True, slots=True)
class Pushed:
    """One task, whether it waits or is gone. `name` is its full name; `url` that of its target, or an App Engine path.

    `statuses` are the answers that the server remembers, the first one first; None is no answer. `waits` says why it
    is not pushed yet; None for a task that is gone.
    """

    name: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    statuses: tuple[int | None, ...]
    waits: str | None

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a task is to be; None is anything.

    A body that is a dict or a list is compared as JSON. `headers` are some of the task's, without regard to case.
    A `url` that starts with a slash is compared with the path and query alone.
    """

    body: Body | None = None
    headers: Mapping[str, str] | None = None
    url: str | None = None

    def differences(self, pushed: Pushed) -> list[str]:
        """In words, what of the task is otherwise; empty when it fits."""
        found = []
        if self.url is not None and self.url not in (pushed.url, _path(pushed.url)):
            found.append(f"url is {pushed.url}")
        if self.body is not None and not _same_body(self.body, pushed.body):
            found.append(f"body is {_show(pushed.body)}")
        there = {name.lower(): value for name, value in pushed.headers.items()}
        for name, value in (self.headers or {}).items():
            if there.get(name.lower()) != value:
                found.append(f"header {name} is {there.get(name.lower(), 'not there')}")
        return found

    def __str__(self) -> str:
        parts = [f"url {self.url}"] if self.url is not None else []
        parts += [f"body {self.body!r}"] if self.body is not None else []
        parts += [f"headers {dict(self.headers)!r}"] if self.headers is not None else []
        return f" with {', '.join(parts)}" if parts else ""


def read_pushed(tasks: Iterable[Mapping[str, Any]], deliveries: Iterable[Mapping[str, Any]]) -> list[Pushed]:
    """One for each task that waits or was delivered, by name; `deliveries` come the last one first."""
    requests: dict[str, Mapping[str, Any]] = {}
    statuses: dict[str, list[int | None]] = {}
    for delivery in deliveries:
        requests[delivery["task"]] = delivery["request"]
        statuses.setdefault(delivery["task"], []).insert(0, delivery["status"])
    waits: dict[str, str] = {}
    for task in tasks:
        requests[task["name"]] = task["request"]
        waits[task["name"]] = task["why"]
    return [
        Pushed(
            name=name,
            method=request["method"],
            url=request["url"],
            headers=request["headers"],
            body=base64.b64decode(request["body"]),
            statuses=tuple(statuses.get(name, ())),
            waits=waits.get(name),
        )
        for name, request in sorted(requests.items())
    ]


def explain_failure(queue: str, count: int | None, expected: Expected, pushed: list[Pushed]) -> str:
    """What was expected and what is there, a line for each task."""
    fitting = [each for each in pushed if not expected.differences(each)]
    wanted = "at least 1 task" if count is None else f"{count} task{'' if count == 1 else 's'}"
    lines = [f"expected {wanted} on {queue}{expected}, found {len(fitting)} of {len(pushed)}"]
    for each in pushed[:_SHOWN_TASKS]:
        differences = expected.differences(each)
        fits = (
            f"differs: {'; '.join(differences)}"
            if differences
            else f"fits: {each.method} {each.url} {_show(each.body)}"
        )
        lines.append(f"  {each.name.rpartition('/')[2]}  {fits}  ({_fate(each)})")
    if len(pushed) > _SHOWN_TASKS:
        lines.append(f"  and {len(pushed) - _SHOWN_TASKS} more")
    return "\n".join(lines)


_SHOWN_TASKS = 20
_SHOWN_BYTES = 200


def _fate(pushed: Pushed) -> str:
    answers = ", ".join("no answer" if status is None else str(status) for status in pushed.statuses)
    answered = f"answered {answers}" if answers else "not delivered yet"
    return answered if pushed.waits is None else f"{answered}; {pushed.waits}"


def _same_body(expected: Body, body: bytes) -> bool:
    if isinstance(expected, bytes):
        return body == expected
    if isinstance(expected, str):
        return body == expected.encode()
    try:
        return bool(json.loads(body) == expected)
    except ValueError:
        return False


def _path(url: str) -> str:
    """Path and query of a URL."""
    _, separator, rest = url.partition("://")
    return "/" + rest.partition("/")[2] if separator else url


def _show(body: bytes) -> str:
    cut = body[:_SHOWN_BYTES]
    text = cut.decode("utf-8", "backslashreplace")
    return f"{text}… ({len(body)} bytes)" if len(cut) < len(body) else text or "empty"
