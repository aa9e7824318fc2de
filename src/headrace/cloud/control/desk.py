"""The server's own API for callers on other threads: the same documents, the same refusals."""

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Mapping
from concurrent import futures
from typing import Any, TypeVar

from headrace.cloud.control.documents import Document
from headrace.cloud.control.schedules import Schedules, job_document
from headrace.cloud.control.steering import Steering
from headrace.cloud.errors import ApiError, Code
from headrace.engine.errors import StoreUnavailable

PATIENCE = 20.0
"""Seconds that a caller waits for the engine's loop."""

T = TypeVar("T")


class Desk:
    """Queues and their tasks, as `Steering` gives them; queues are named in full. Thread-safe.

    `loop` is the engine's; nothing may be asked from its own thread. Every method raises ApiError: NOT_FOUND where
    there is no such queue or task, UNAVAILABLE where no answer comes in time or the disk refuses.
    """

    def __init__(self, steering: Steering, loop: AbstractEventLoop, patience: float = PATIENCE) -> None:
        self._steering = steering
        self._loop = loop
        self._patience = patience

    def list_queues(
        self, *, chart: bool = False, most: int | None = None, after: str = "", part: str = ""
    ) -> list[Document]:
        """The queues behind `after` whose id has `part` in it, by name; with `chart`, each with its pushes a minute."""
        return self.ask(lambda: self._steering.list_queues(chart=chart, most=most, after=after, part=part))

    def get_queue(self, queue: str, *, chart: bool = False) -> Document:
        """One queue."""
        return self.ask(lambda: self._steering.get_queue(queue, chart=chart))

    def pause_queue(self, queue: str, *, actor: str) -> Document:
        """Push nothing more by itself."""
        return self.wait_for(lambda: self._steering.pause_queue(queue, actor=actor))

    def resume_queue(self, queue: str, *, actor: str) -> Document:
        """Push again."""
        return self.wait_for(lambda: self._steering.resume_queue(queue, actor=actor))

    def purge_queue(self, queue: str, *, actor: str) -> int:
        """Drop every task created until now; how many were stored."""
        return self.wait_for(lambda: self._steering.purge_queue(queue, actor=actor))

    def limit_queue(self, queue: str, given: Mapping[str, Any], *, actor: str) -> Document:
        """Put `rateLimits` and `retryConfig`, any part of them, in force. ApiError for what no queue may have."""
        return self.wait_for(lambda: self._steering.limit_queue(queue, given, actor=actor))

    def give_back_limits(self, queue: str, *, actor: str) -> Document:
        """Put the file's limits in force. ApiError: FAILED_PRECONDITION where no file has the queue."""
        return self.wait_for(lambda: self._steering.give_back_limits(queue, actor=actor))

    def list_tasks(self, queue: str, *, most: int, token: str = "") -> Document:
        """A page of stored tasks, in the order of their creation: `tasks`, and `nextPageToken` where there are more."""
        return self.wait_for(lambda: self._steering.list_tasks(queue, most=most, token=token))

    def list_line(self, queue: str, *, most: int) -> Document:
        """The tasks that are being pushed, then those that come next."""
        return self.ask(lambda: self._steering.list_line(queue, most=most))

    def get_task(self, queue: str, task: str) -> Document:
        """One stored task."""
        return self.wait_for(lambda: self._steering.get_task(queue, task))

    def run_task(self, queue: str, task: str, *, actor: str) -> Document:
        """Push a task now, whatever its queue's state and rate."""
        return self.wait_for(lambda: self._steering.run_task(queue, task, actor=actor))

    def delete_task(self, queue: str, task: str, *, actor: str) -> None:
        """Drop a task."""
        self.wait_for(lambda: self._steering.delete_task(queue, task, actor=actor))

    def list_deliveries(self, queue: str, *, most: int, task: str | None = None) -> list[Document]:
        """The last deliveries of a queue, or of one of its tasks, the last one first."""
        return self.ask(lambda: self._steering.list_deliveries(queue, most=most, task=task))

    def list_audit(self, most: int) -> list[Document]:
        """What was done by hand, the newest first."""
        return self.ask(lambda: self._steering.list_audit(most))

    # How it is asked.

    def ask(self, question: Callable[[], T]) -> T:
        """The answer to a question that the loop's thread answers at once."""

        async def answer() -> T:
            return question()

        return self.wait_for(answer)

    def wait_for(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question that takes turns of the loop."""

        async def answer() -> T:
            return await question()

        coroutine = answer()
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(self._patience)
        except StoreUnavailable as error:
            raise ApiError(Code.UNAVAILABLE, str(error)) from error
        except (futures.TimeoutError, futures.CancelledError) as error:
            raise ApiError(Code.UNAVAILABLE, "The queues gave no answer in time.") from error
        except RuntimeError as error:
            coroutine.close()
            raise ApiError(Code.UNAVAILABLE, "The queues do not run.") from error


class ServerDesk(Desk):
    """The desk of a whole queue server: its scheduler's jobs too, named in full."""

    def __init__(
        self, steering: Steering, schedules: Schedules, loop: AbstractEventLoop, patience: float = PATIENCE
    ) -> None:
        super().__init__(steering, loop, patience)
        self._schedules = schedules

    def list_jobs(self, *, most: int, after: str = "") -> list[Document]:
        """Up to `most` jobs whose name is behind `after`, by name."""
        # The next times are found in the caller's thread: the loop has pushes to make.
        return [job_document(each) for each in self.ask(lambda: self._schedules.list_jobs(most=most, after=after))]

    def get_job(self, name: str) -> Document:
        """One job."""
        return job_document(self.wait_for(lambda: self._schedules.get_job(name)))

    def run_job(self, name: str, *, actor: str) -> None:
        """Fire it now, in any state."""
        self.wait_for(lambda: self._schedules.run_job(name, actor=actor))

    def pause_job(self, name: str, *, actor: str) -> None:
        """No firing until it is resumed."""
        self.wait_for(lambda: self._schedules.pause_job(name, actor=actor))

    def resume_job(self, name: str, *, actor: str) -> None:
        """Fire again, from the next time on."""
        self.wait_for(lambda: self._schedules.resume_job(name, actor=actor))

    def edit_job(self, name: str, *, schedule: str, time_zone: str, actor: str) -> None:
        """Give it other times. ApiError for a schedule or zone that is none."""
        self.wait_for(lambda: self._schedules.edit_job(name, schedule=schedule, time_zone=time_zone, actor=actor))
