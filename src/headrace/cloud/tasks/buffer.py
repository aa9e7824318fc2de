"""BufferTask: a bare HTTP request becomes a task of a queue that says itself where its tasks go.

No client library has it; `gcloud tasks buffer` and plain HTTP callers do.
"""

from collections.abc import Mapping

from headrace.clock import Clock
from headrace.cloud import names
from headrace.cloud.descriptors import Message
from headrace.cloud.errors import ApiError, Code, bad_task_id, task_refused
from headrace.cloud.headers import read_headers
from headrace.cloud.tasks.messages import BASIC
from headrace.cloud.tasks.queues import find_queue
from headrace.cloud.tasks.task_answers import task_message
from headrace.cloud.tasks.task_requests import DEFAULT_DEADLINE, HTTP_USER_AGENT, check_reach, check_size
from headrace.engine.engine import Engine
from headrace.engine.model import CreateRefused, HttpTarget, NewTask, Queue
from headrace.engine.target import override_url

_OF_THE_CALL = frozenset(
    (
        *("accept", "accept-encoding", "authorization", "connection", "content-length", "expect", "host", "keep-alive"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
    )
)
"""Headers that are about the call itself; its credentials go no further."""
_RESERVED = ("x-appengine-", "x-cloudtasks-", "x-google-", "x-goog-")


class Buffer:
    """Makes tasks of requests, on one engine."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def buffer_task(self, queue: str, task_id: str, headers: Mapping[str, str], body: bytes) -> Message:
        """Create a task whose body is the request's, with its headers; answers the Task. No `task_id`: one is given.

        Where it goes is what the queue's `http_target` says. Raises ApiError.
        """
        found = find_queue(self._engine, queue)
        name = _read_id(queue, task_id)
        now = self._clock.now()
        task = NewTask(name, _make_target(found, headers, body), None, DEFAULT_DEADLINE)
        check_size(task, queue, now, at_least=len(body))
        check_reach(task, queue, self._engine.may_reach)
        (outcome,) = await self._engine.create_tasks(queue, [task])
        if isinstance(outcome, CreateRefused):
            raise task_refused(outcome.reason)
        return task_message(outcome, BASIC)


def _read_id(queue: str, task_id: str) -> str | None:
    if not task_id:
        return None
    if "/" in task_id:
        raise bad_task_id(task_id)
    return names.split_task(f"{queue}/tasks/{task_id}")[1]


def _make_target(queue: Queue, headers: Mapping[str, str], body: bytes) -> HttpTarget:
    overrides = queue.http_overrides
    if overrides is None or overrides.uri is None or not overrides.uri.host:
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"The queue {queue.name} has no httpTarget.uriOverride.host, so its tasks cannot be buffered.",
        )
    # A scheme that is not given means https (Cloud Tasks v2, UriOverride.Scheme).
    url = override_url(f"https://{overrides.uri.host}", overrides.uri)
    kept = {
        name: value
        for name, value in headers.items()
        if name.lower() not in _OF_THE_CALL and not name.lower().startswith(_RESERVED)
    }
    if not any(name.lower() == "content-type" for name in kept):
        kept["Content-Type"] = "application/json"
    pairs = (*read_headers(kept, "HttpRequest.headers"), ("User-Agent", HTTP_USER_AGENT))
    return HttpTarget(url, overrides.method or "POST", pairs, body, None)
