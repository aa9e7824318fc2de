"""The queues of a queue server, over its own API: everything that it knows of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from headrace.drivers.queue_documents import read_delivery, read_status, read_task, write_limits
from headrace.drivers.queues import LIMITS, Delivery, QueuedTask, QueueLimits, QueueStatus
from headrace.errors import BadRequest, DriverError, NotFound, WrongState

TIMEOUT = 2.0
"""Seconds that a question may take: a page waits for it."""
LARGEST_ANSWER = 20_000_000
"""Bytes of an answer that are read."""

_LONGEST_ACTOR = 200

T = TypeVar("T")


class QueueServerControl:
    """The queues of `projects/<project>/locations/<location>` on the server whose REST side is at `url`.

    `token` is what that server asks of its callers, where it asks.
    """

    adjustable = frozenset(LIMITS)

    def __init__(self, url: str, *, project: str, location: str, token: str | None) -> None:
        self._url = url
        self._base = urlsplit(url)
        self._parent = f"projects/{project}/locations/{location}/queues/"
        self._token = token

    def list(self) -> Sequence[QueueStatus]:
        """See `QueueControl.list`."""
        found = self._ask("GET", "/queues")["queues"]
        own = [each for each in found if each["name"].startswith(self._parent)]
        return sorted((_read(read_status, each) for each in own), key=lambda status: status.name)

    def show(self, queue: str) -> QueueStatus | None:
        """See `QueueControl.show`."""
        try:
            return _read(read_status, self._ask("GET", self._path(queue)))
        except NotFound:
            return None

    def pause(self, queue: str, *, actor: str) -> None:
        """See `QueueControl.pause`."""
        self._ask("POST", f"{self._path(queue)}:pause", actor=actor)

    def resume(self, queue: str, *, actor: str) -> None:
        """See `QueueControl.resume`."""
        self._ask("POST", f"{self._path(queue)}:resume", actor=actor)

    def purge(self, queue: str, *, actor: str) -> int | None:
        """See `QueueControl.purge`."""
        return int(self._ask("POST", f"{self._path(queue)}:purge", actor=actor)["purged"])

    def limit(self, queue: str, limits: QueueLimits | None, *, actor: str) -> None:
        """See `QueueControl.limit`."""
        path = f"{self._path(queue)}/limits"
        if limits is None:
            self._ask("DELETE", path, actor=actor)
        else:
            self._ask("PATCH", path, body=write_limits(limits), actor=actor)

    def tasks(self, queue: str, *, limit: int, after: str = "") -> tuple[Sequence[QueuedTask], str]:
        """See `QueueControl.tasks`."""
        answer = self._ask("GET", f"{self._path(queue)}/tasks", pageSize=limit, pageToken=after)
        return [_read(read_task, each) for each in answer["tasks"]], answer.get("nextPageToken", "")

    def task(self, queue: str, name: str) -> QueuedTask | None:
        """See `QueueControl.task`."""
        try:
            return _read(read_task, self._ask("GET", self._task_path(queue, name)))
        except NotFound:
            return None

    def deliveries(self, queue: str, task: str | None = None, *, limit: int) -> Sequence[Delivery] | None:
        """See `QueueControl.deliveries`."""
        answer = self._ask("GET", f"{self._path(queue)}/deliveries", pageSize=limit, task=task or "")
        return [_read(read_delivery, each) for each in answer["deliveries"]]

    def run(self, queue: str, task: str, *, actor: str) -> bool:
        """See `QueueControl.run`."""
        return self._reaches("POST", f"{self._task_path(queue, task)}:run", actor)

    def delete(self, queue: str, task: str, *, actor: str) -> bool:
        """See `QueueControl.delete`."""
        return self._reaches("DELETE", self._task_path(queue, task), actor)

    def close(self) -> None:
        """Nothing is held open."""

    def _reaches(self, method: str, path: str, actor: str) -> bool:
        try:
            self._ask(method, path, actor=actor)
        except NotFound:
            return False
        return True

    def _path(self, queue: str) -> str:
        return f"/{self._parent}{quote(queue, safe='')}"

    def _task_path(self, queue: str, task: str) -> str:
        return f"{self._path(queue)}/tasks/{quote(task, safe='')}"

    def _ask(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, actor: str = "", **query: str | int
    ) -> dict[str, Any]:
        """The server's answer. Raises what its refusals mean, and DriverError where it gives none."""
        given = urlencode({name: value for name, value in query.items() if value != ""})
        target = f"{self._base.path}/headrace/v1{path}{'?' if given else ''}{given}"
        headers: dict[str, str | bytes] = {}
        if actor:
            headers["Headrace-Actor"] = "".join(filter(str.isprintable, actor))[:_LONGEST_ACTOR].encode()
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            content, headers["Content-Type"] = json.dumps(body), "application/json"
        kind = HTTPSConnection if self._base.scheme == "https" else HTTPConnection
        connection = kind(self._base.hostname or "127.0.0.1", self._base.port, timeout=TIMEOUT)
        try:
            connection.request(method, target, content, headers)
            response = connection.getresponse()
            answered = response.read(LARGEST_ANSWER)
        except (OSError, HTTPException) as error:
            raise _unreachable(self._url, error) from error
        finally:
            connection.close()
        return _understand(self._url, response.status, answered)


def _understand(url: str, status: int, content: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(content) if content else {}
        if status < 300:
            return document
        error = document["error"]
        code, message = str(error["status"]), str(error["message"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unreachable(url, f"status {status}, and no document") from error
    refusals = {"NOT_FOUND": NotFound, "FAILED_PRECONDITION": WrongState, "INVALID_ARGUMENT": BadRequest}
    raise refusals.get(code, DriverError)(message)


def _read(reader: Callable[[Mapping[str, Any]], T], document: Mapping[str, Any]) -> T:
    try:
        return reader(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DriverError(f"The queue server answered with another document than expected: {error!r}.") from error


def _unreachable(url: str, reason: object) -> DriverError:
    return DriverError(
        f"The queue server at {url} could not be asked: {reason}.",
        hint="See that it runs, and that HEADRACE_QUEUE_SERVER_URL and HEADRACE_QUEUE_SERVER_TOKEN are its own.",
    )
