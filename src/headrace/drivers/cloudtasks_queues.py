"""The queues of Cloud Tasks, through Google's own client: the real service, or a queue server that speaks its API.

Cloud Tasks tells state, limits and tasks. It counts nothing, keeps no history of deliveries, knows no file, and says
not why a task waits.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

from headrace.drivers.cloudtasks import authorization, open_client
from headrace.drivers.queues import LIMITS, Delivery, QueuedTask, QueueLimits, QueueState, QueueStatus
from headrace.errors import BadRequest, DriverError, NotFound, WrongState
from headrace.retries import RetryLimits

TIMEOUT = 2.0
"""Seconds that a question may take: a page waits for it."""
_FULL = 2
_LARGEST_PAGE = 1_000
_STATES = {1: QueueState.RUNNING, 2: QueueState.PAUSED, 3: QueueState.DISABLED}
_MASK = ("rate_limits.max_dispatches_per_second", "rate_limits.max_concurrent_dispatches", "retry_config")
_STATUS_TEXT = "HTTP status code "

T = TypeVar("T")


class CloudTasksControl:
    """The queues of `projects/<project>/locations/<location>`.

    `emulator_host` is host:port of a queue server's gRPC side; None is Google's. `emulator_token` is what that server
    asks of its callers.
    """

    adjustable = frozenset(LIMITS) - {"bucket_size"}

    def __init__(
        self, *, project: str, location: str, emulator_host: str | None, emulator_token: str | None = None
    ) -> None:
        self._location = f"projects/{project}/locations/{location}"
        self._emulator_host = emulator_host
        self._once: dict[str, Any] = {"timeout": TIMEOUT, "retry": None}
        if emulator_host is not None:
            self._once["metadata"] = authorization(emulator_token)

    def list(self) -> Sequence[QueueStatus]:
        """See `QueueControl.list`."""
        return self._ask(
            lambda: [_status(each) for each in self._client.list_queues(parent=self._location, **self._once)]
        )

    def show(self, queue: str) -> QueueStatus | None:
        """See `QueueControl.show`."""
        return self._find(lambda: _status(self._client.get_queue(name=self._queue(queue), **self._once)))

    def pause(self, queue: str, *, actor: str) -> None:  # noqa: ARG002 - Google's audit knows its own callers
        """See `QueueControl.pause`."""
        self._ask(lambda: self._client.pause_queue(name=self._queue(queue), **self._once))

    def resume(self, queue: str, *, actor: str) -> None:  # noqa: ARG002 - as above
        """See `QueueControl.resume`."""
        self._ask(lambda: self._client.resume_queue(name=self._queue(queue), **self._once))

    def purge(self, queue: str, *, actor: str) -> int | None:  # noqa: ARG002 - as above
        """See `QueueControl.purge`. Cloud Tasks may go on with it for a minute."""
        self._ask(lambda: self._client.purge_queue(name=self._queue(queue), **self._once))
        return None

    def limit(self, queue: str, limits: QueueLimits | None, *, actor: str) -> None:  # noqa: ARG002 - as above
        """See `QueueControl.limit`. UpdateQueue would make a queue that is missing, so it is looked for first."""
        if limits is None:
            raise WrongState("Cloud Tasks knows no file that the queue could be given back to.")
        if self.show(queue) is None:
            raise NotFound(f"Cloud Tasks has no queue {queue}.")
        retry = limits.retry
        for name, value in (("rate_per_second", limits.rate_per_second), ("max_doublings", retry.max_doublings)):
            if value == 0:
                # A number of 0 is one that is not given (proto3), and stands for the default.
                raise BadRequest(f"{name}: Cloud Tasks cannot be given 0.", pointer=f"/{name}")
        changed = {
            "name": self._queue(queue),
            "rate_limits": {
                "max_dispatches_per_second": limits.rate_per_second,
                "max_concurrent_dispatches": limits.max_concurrent_requests,
            },
            "retry_config": {
                "max_attempts": retry.max_attempts,
                "max_retry_duration": timedelta(seconds=retry.max_duration),
                "min_backoff": timedelta(seconds=retry.min_backoff),
                "max_backoff": timedelta(seconds=retry.max_backoff),
                "max_doublings": retry.max_doublings,
            },
        }
        request = {"queue": changed, "update_mask": {"paths": list(_MASK)}}
        self._ask(lambda: self._client.update_queue(request=request, **self._once))

    def tasks(self, queue: str, *, limit: int, after: str = "") -> tuple[Sequence[QueuedTask], str]:
        """See `QueueControl.tasks`. Cloud Tasks lists in an order of its own, at most 1,000 a page."""
        request = {
            "parent": self._queue(queue),
            "page_size": min(limit, _LARGEST_PAGE),
            "page_token": after,
            "response_view": _FULL,
        }
        pages = self._ask(lambda: next(iter(self._client.list_tasks(request=request, **self._once).pages)))
        return [_task(each) for each in pages.tasks], pages.next_page_token

    def task(self, queue: str, name: str) -> QueuedTask | None:
        """See `QueueControl.task`."""
        request = {"name": self._task(queue, name), "response_view": _FULL}
        return self._find(lambda: _task(self._client.get_task(request=request, **self._once)))

    def deliveries(self, queue: str, task: str | None = None, *, limit: int) -> Sequence[Delivery] | None:  # noqa: ARG002
        """None: Cloud Tasks keeps no history."""
        return None

    def run(self, queue: str, task: str, *, actor: str) -> bool:  # noqa: ARG002 - as above
        """See `QueueControl.run`."""
        return self._find(lambda: self._client.run_task(name=self._task(queue, task), **self._once)) is not None

    def delete(self, queue: str, task: str, *, actor: str) -> bool:  # noqa: ARG002 - as above
        """See `QueueControl.delete`."""
        return self._find(lambda: (self._client.delete_task(name=self._task(queue, task), **self._once),)) is not None

    def close(self) -> None:
        """Close the channel, if one was opened."""
        if "_client" in self.__dict__:
            self._client.transport.close()

    @cached_property
    def _client(self) -> Any:
        return open_client(self._emulator_host)

    def _queue(self, queue: str) -> str:
        return f"{self._location}/queues/{queue}"

    def _task(self, queue: str, task: str) -> str:
        return f"{self._queue(queue)}/tasks/{task}"

    def _find(self, question: Callable[[], T]) -> T | None:
        try:
            return self._ask(question)
        except NotFound:
            return None

    def _ask(self, question: Callable[[], T]) -> T:
        # Imported here: a service starts without Google's packages.
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError

        try:
            return question()
        except exceptions.NotFound as error:
            raise NotFound(error.message) from error
        except exceptions.FailedPrecondition as error:
            raise WrongState(error.message) from error
        except exceptions.InvalidArgument as error:
            raise BadRequest(error.message) from error
        except (exceptions.GoogleAPIError, GoogleAuthError) as error:
            raise DriverError(
                f"Cloud Tasks could not be asked: {error}.",
                hint="See that it can be reached, and that the service account may administer queues.",
            ) from error


def _status(queue: Any) -> QueueStatus:
    rate, retry = queue.rate_limits, queue.retry_config
    limits = QueueLimits(
        rate_per_second=rate.max_dispatches_per_second,
        bucket_size=rate.max_burst_size,
        max_concurrent_requests=rate.max_concurrent_dispatches,
        retry=RetryLimits(
            max_attempts=retry.max_attempts,
            max_duration=_seconds(retry.max_retry_duration),
            min_backoff=_seconds(retry.min_backoff),
            max_backoff=_seconds(retry.max_backoff),
            max_doublings=retry.max_doublings,
        ),
    )
    return QueueStatus(queue.name.rpartition("/")[2], _STATES[int(queue.state)], limits)


def _task(task: Any) -> QueuedTask:
    is_http = bool(task.http_request.url)
    request = task.http_request if is_http else task.app_engine_http_request
    return QueuedTask(
        name=task.name.rpartition("/")[2],
        created_at=task.create_time.timestamp(),
        schedule_at=task.schedule_time.timestamp(),
        dispatch_count=task.dispatch_count,
        last_status=_last_status(task),
        why="",
        method=request.http_method.name,
        url=request.url if is_http else request.relative_uri,
        headers=tuple(sorted(request.headers.items())),
        body=bytes(request.body),
    )


def _last_status(task: Any) -> int | None:
    """The HTTP status that the text of the last attempt's status ends with; None where it has none."""
    if "last_attempt" not in task or "response_status" not in task.last_attempt:
        return None
    status = task.last_attempt.response_status
    number = status.message.rpartition(_STATUS_TEXT)[2]
    return int(number) if number.isascii() and number.isdecimal() else None


def _seconds(duration: Any) -> float:
    return 0.0 if duration is None else float(duration.total_seconds())
