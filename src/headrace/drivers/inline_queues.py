"""The queues of the engine in this process, over the desk of the queue server's own API: the same documents."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from headrace.cloud.control.desk import Desk
from headrace.cloud.errors import ApiError, Code
from headrace.cloud.names import queue_name
from headrace.drivers.queue_documents import read_delivery, read_status, read_task, write_limits
from headrace.drivers.queues import LIMITS, Delivery, QueuedTask, QueueLimits, QueueStatus
from headrace.errors import BadRequest, DriverError, HeadraceError, NotFound, WrongState

T = TypeVar("T")

_REFUSALS: dict[Code, type[HeadraceError]] = {
    Code.NOT_FOUND: NotFound,
    Code.FAILED_PRECONDITION: WrongState,
    Code.INVALID_ARGUMENT: BadRequest,
}


class InlineControl:
    """The queues of `projects/<project>/locations/<location>`; `desk` gives None while they do not run."""

    adjustable = frozenset(LIMITS)

    def __init__(self, desk: Callable[[], Desk | None], *, project: str, location: str) -> None:
        self._desk = desk
        self._project = project
        self._location = location

    def list(self) -> Sequence[QueueStatus]:
        """See `QueueControl.list`."""
        return [read_status(each) for each in self._ask(lambda desk: desk.list_queues())]

    def show(self, queue: str) -> QueueStatus | None:
        """See `QueueControl.show`."""
        return self._find(lambda desk: read_status(desk.get_queue(self._full(queue))))

    def pause(self, queue: str, *, actor: str) -> None:
        """See `QueueControl.pause`."""
        self._ask(lambda desk: desk.pause_queue(self._full(queue), actor=actor))

    def resume(self, queue: str, *, actor: str) -> None:
        """See `QueueControl.resume`."""
        self._ask(lambda desk: desk.resume_queue(self._full(queue), actor=actor))

    def purge(self, queue: str, *, actor: str) -> int | None:
        """See `QueueControl.purge`."""
        return self._ask(lambda desk: desk.purge_queue(self._full(queue), actor=actor))

    def limit(self, queue: str, limits: QueueLimits | None, *, actor: str) -> None:
        """See `QueueControl.limit`."""
        full = self._full(queue)
        if limits is None:
            self._ask(lambda desk: desk.give_back_limits(full, actor=actor))
        else:
            given = write_limits(limits)
            self._ask(lambda desk: desk.limit_queue(full, given, actor=actor))

    def tasks(self, queue: str, *, limit: int, after: str = "") -> tuple[Sequence[QueuedTask], str]:
        """See `QueueControl.tasks`."""
        page = self._ask(lambda desk: desk.list_tasks(self._full(queue), most=limit, token=after))
        return [read_task(each) for each in page["tasks"]], page.get("nextPageToken", "")

    def task(self, queue: str, name: str) -> QueuedTask | None:
        """See `QueueControl.task`."""
        return self._find(lambda desk: read_task(desk.get_task(self._full(queue), name)))

    def deliveries(self, queue: str, task: str | None = None, *, limit: int) -> Sequence[Delivery] | None:
        """See `QueueControl.deliveries`."""
        found = self._ask(lambda desk: desk.list_deliveries(self._full(queue), most=limit, task=task))
        return [read_delivery(each) for each in found]

    def run(self, queue: str, task: str, *, actor: str) -> bool:
        """See `QueueControl.run`."""
        return self._find(lambda desk: desk.run_task(self._full(queue), task, actor=actor)) is not None

    def delete(self, queue: str, task: str, *, actor: str) -> bool:
        """See `QueueControl.delete`."""

        def drop(desk: Desk) -> bool:
            desk.delete_task(self._full(queue), task, actor=actor)
            return True

        return bool(self._find(drop))

    def close(self) -> None:
        """The driver stops the engine."""

    def _full(self, queue: str) -> str:
        return queue_name(self._project, self._location, queue)

    def _find(self, question: Callable[[Desk], T]) -> T | None:
        try:
            return self._ask(question)
        except NotFound:
            return None

    def _ask(self, question: Callable[[Desk], T]) -> T:
        desk = self._desk()
        if desk is None:
            raise DriverError("The queue of this process does not run.")
        try:
            return question(desk)
        except ApiError as error:
            raise _REFUSALS.get(error.rpc_code, DriverError)(error.message) from error
