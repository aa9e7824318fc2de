"""Cloud Tasks, through Google's own client: the real service, or a queue server that speaks its API.

Tasks are created 100 a call (`BatchCreateTasks`); where the service does not know that call, one by one. google
packages are imported at the first use: the service starts without them.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from headrace.drivers.base import Push, PushOutcome, PushResult
from headrace.errors import DriverError

BATCH = 100
"""Tasks that one BatchCreateTasks may create (its limit)."""
LISTED = 5_000
"""Tasks that are listed to find missing ones; on a longer queue each is asked for by itself."""
QUEUE_KNOWN = 60.0
"""Seconds for which a queue that was seen is taken to exist."""


@dataclass(slots=True)
class _Known:
    """Until when each queue is taken to exist."""

    until: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def authorization(emulator_token: str | None) -> list[tuple[str, str]]:
    """The metadata that shows a queue server its token; none where there is none."""
    return [("authorization", f"Bearer {emulator_token}")] if emulator_token else []


def open_client(emulator_host: str | None) -> Any:
    """Google's own client, for Google's service or for the gRPC side of a queue server at host:port."""
    from google.cloud.tasks_v2 import CloudTasksClient

    if emulator_host is None:
        return CloudTasksClient()
    import grpc

    channel = grpc.insecure_channel(
        emulator_host,
        options=[("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 2_000)],
    )
    return CloudTasksClient(transport=CloudTasksClient.get_transport_class("grpc")(channel=channel))


class CloudTasksDriver:
    """Pushes HTTP tasks that carry an OIDC token of `service_account` for `audience`.

    `emulator_host` is host:port of a queue server's gRPC side, spoken to without TLS; None is Google's.
    `emulator_token` is what that server asks of its callers, where it asks; Google's never sees it.
    `monotonic` gives seconds for how long a queue is remembered to exist.
    """

    name = "cloudtasks"
    max_body = 1_000_000
    # A task may be scheduled 30 days ahead (Cloud Tasks quotas); an hour of it is for clocks that are apart.
    max_delay = 30 * 86_400.0 - 3_600.0

    def __init__(
        self,
        *,
        project: str,
        location: str,
        service_account: str,
        audience: str,
        emulator_host: str | None,
        emulator_token: str | None = None,
        monotonic: Callable[[], float],
        timeout: float = 20.0,
    ) -> None:
        self._parent = f"projects/{project}/locations/{location}/queues/"
        self._service_account = service_account
        self._audience = audience
        self._emulator_host = emulator_host
        self._monotonic = monotonic
        self._timeout = timeout
        # What fails is tried again by the sweeps, not by the client while a request waits.
        self._once: dict[str, Any] = {"timeout": timeout, "retry": None}
        if emulator_host is not None:
            self._once["metadata"] = authorization(emulator_token)
        self._known = _Known()
        self._one_by_one = False

    def push_many(self, pushes: Sequence[Push]) -> list[PushResult]:
        """See `Driver.push_many`."""
        results: list[PushResult] = [PushResult(PushOutcome.UNAVAILABLE)] * len(pushes)
        for queue, indices in _by_queue(pushes):
            for start in range(0, len(indices), BATCH):
                some = indices[start : start + BATCH]
                answers = self._push_some(queue, [pushes[index] for index in some])
                for index, answer in zip(some, answers, strict=True):
                    results[index] = answer
                if all(answer.outcome is PushOutcome.UNAVAILABLE for answer in answers):
                    break
        return results

    def missing(self, queue: str, names: Sequence[str]) -> set[str]:
        """See `Driver.missing`."""
        left = set(names) - self._listed(queue) if len(names) > 1 else set(names)
        return {name for name in left if not self._exists(queue, name)}

    def has_queue(self, queue: str) -> bool:
        """See `Driver.has_queue`."""
        now = self._monotonic()
        with self._known.lock:
            if self._known.until.get(queue, 0.0) > now:
                return True
        try:
            self._client.get_queue(name=self._parent + queue, **self._once)
        except self._errors.NotFound:
            return False
        except self._errors.GoogleAPIError:
            return True
        with self._known.lock:
            self._known.until[queue] = now + QUEUE_KNOWN
        return True

    def close(self) -> None:
        """Close the channel, if one was opened."""
        if "_client" in self.__dict__:
            self._client.transport.close()

    @cached_property
    def _errors(self) -> Any:
        from google.api_core import exceptions

        return exceptions

    @cached_property
    def _messages(self) -> Any:
        from google.cloud import tasks_v2

        return tasks_v2

    @cached_property
    def _client(self) -> Any:
        return open_client(self._emulator_host)

    def _push_some(self, queue: str, pushes: Sequence[Push]) -> list[PushResult]:
        if len(pushes) == 1 or self._one_by_one:
            return [self._push_one(queue, push) for push in pushes]
        request = self._messages.BatchCreateTasksRequest.pb()(parent=self._parent + queue)
        for push in pushes:
            self._fill(request.requests.add(), queue, push)
        request = self._messages.BatchCreateTasksRequest.wrap(request)
        try:
            operation = self._client.batch_create_tasks(request=request, **self._once)
            if not operation.operation.done:
                operation.exception(timeout=self._timeout)
        except self._errors.MethodNotImplemented:
            self._one_by_one = True
            return [self._push_one(queue, push) for push in pushes]
        except (self._errors.GoogleAPIError, TimeoutError) as error:
            return [_failure(error)] * len(pushes)
        return self._results(operation.operation, len(pushes))

    def _results(self, operation: Any, count: int) -> list[PushResult]:
        """One result a request: those that failed stand in the operation's metadata, by index."""
        metadata = self._messages.BatchCreateTasksMetadata.pb()()
        operation.metadata.Unpack(metadata)
        if operation.HasField("error") and not metadata.failed_requests:
            return [_result(operation.error.code, operation.error.message)] * count
        failed = metadata.failed_requests
        return [
            _result(failed[index].code, failed[index].message) if index in failed else _PUSHED for index in range(count)
        ]

    def _push_one(self, queue: str, push: Push) -> PushResult:
        request = self._messages.CreateTaskRequest.pb()()
        self._fill(request, queue, push)
        request = self._messages.CreateTaskRequest.wrap(request)
        try:
            self._client.create_task(request=request, **self._once)
        except self._errors.GoogleAPIError as error:
            return _failure(error)
        return _PUSHED

    def _fill(self, request: Any, queue: str, push: Push) -> None:
        """Fill a raw CreateTaskRequest: proto-plus would cost ten times the message."""
        request.parent = self._parent + queue
        task = request.task
        task.name = f"{request.parent}/tasks/{push.name}"
        http = task.http_request
        http.url = push.url
        http.http_method = _POST
        http.body = push.body
        http.headers["Content-Type"] = "application/json"
        for name, value in push.headers:
            http.headers[name] = value
        http.oidc_token.service_account_email = self._service_account
        http.oidc_token.audience = self._audience
        task.dispatch_deadline.FromMicroseconds(int(push.deadline * 1e6))
        if push.schedule_at is not None:
            task.schedule_time.FromMicroseconds(int(push.schedule_at * 1e6))

    def _listed(self, queue: str) -> set[str]:
        """The names of a queue's tasks; of a long queue, some."""
        request = {"parent": self._parent + queue, "page_size": 1_000}
        names: set[str] = set()
        try:
            for page in self._client.list_tasks(request=request, **self._once).pages:
                names.update(task.name.rpartition("/")[2] for task in page.tasks)
                if len(names) >= LISTED:
                    break
        except self._errors.NotFound:
            return set()
        except self._errors.GoogleAPIError as error:
            raise _unreachable(queue, error) from error
        return names

    def _exists(self, queue: str, name: str) -> bool:
        try:
            self._client.get_task(name=f"{self._parent}{queue}/tasks/{name}", **self._once)
        except self._errors.NotFound:
            return False
        except self._errors.GoogleAPIError as error:
            raise _unreachable(queue, error) from error
        return True


_PUSHED = PushResult(PushOutcome.PUSHED)
_POST = 1
_INVALID_ARGUMENT, _ALREADY_EXISTS, _UNAVAILABLE = 3, 6, 14


def _by_queue(pushes: Sequence[Push]) -> Iterable[tuple[str, list[int]]]:
    indices: dict[str, list[int]] = defaultdict(list)
    for index, push in enumerate(pushes):
        indices[push.queue].append(index)
    return indices.items()


def _failure(error: Exception) -> PushResult:
    code = getattr(error, "grpc_status_code", None)
    return _result(_UNAVAILABLE if code is None else code.value[0], str(error))


def _result(code: int, reason: str) -> PushResult:
    """Only what can never succeed is a refusal; a queue that is missing may be deployed again."""
    if code == _ALREADY_EXISTS:
        return PushResult(PushOutcome.DUPLICATE, reason)
    if code == _INVALID_ARGUMENT:
        return PushResult(PushOutcome.REFUSED, reason)
    return PushResult(PushOutcome.UNAVAILABLE, reason)


def _unreachable(queue: str, error: Exception) -> DriverError:
    return DriverError(
        f"The queue {queue} could not be asked: {error}.",
        hint="See that the queue server runs, or that the service account may read the queue.",
    )
