"""Cloud Tasks v2: the methods on many tasks of a queue at once."""

from collections.abc import Callable
from typing import Generic, TypeVar

from headrace.clock import Clock
from headrace.cloud import names
from headrace.cloud.descriptors import Empty, Message, Operation, set_time
from headrace.cloud.errors import ApiError, invalid, queue_mismatch, task_missing, task_refused
from headrace.cloud.services import Rpc
from headrace.cloud.tasks import messages
from headrace.cloud.tasks.operations import Operations
from headrace.cloud.tasks.queues import find_queue
from headrace.cloud.tasks.task_answers import task_message
from headrace.cloud.tasks.task_requests import read_create
from headrace.engine.engine import Engine
from headrace.engine.model import CreateRefused, Missing, Task
from headrace.engine.store.interface import Document

MAX_CREATES = 100
MAX_DELETES = 1000

T = TypeVar("T")


class Batches:
    """The batch calls on one engine's tasks. `rpcs` holds the methods, by name.

    A batch is one durable write. A part that is refused does not hold back the others: it stands in the
    operation's `metadata.failed_requests`, by its index. The operation is done when it is answered. A call with
    a `request_id` is done once: the same one again, on the same queue, gets the same operation.
    """

    def __init__(self, engine: Engine, clock: Clock, operations: Operations) -> None:
        self._engine = engine
        self._clock = clock
        self._operations = operations
        self.rpcs: dict[str, Rpc] = {
            "BatchCreateTasks": Rpc(messages.BatchCreateTasksRequest, self.create_tasks),
            "BatchDeleteTasks": Rpc(messages.BatchDeleteTasksRequest, self.delete_tasks),
        }

    async def create_tasks(self, request: Message) -> Message:
        """Create up to 100 tasks; the operation's response has those that were created, in order."""
        parent = find_queue(self._engine, request.parent).name
        if not 1 <= len(request.requests) <= MAX_CREATES:
            raise invalid(f"BatchCreateTasksRequest.requests must hold 1 to {MAX_CREATES} requests.")
        for single in request.requests:
            if single.parent not in ("", parent):
                raise queue_mismatch(parent, single.parent)

        async def create(name: str, must_store: bool) -> Message:
            started_at = self._clock.now()
            new_tasks, refusals = _sort(
                request.requests, lambda single: read_create(single, parent, started_at, self._engine.may_reach)
            )

            def finish(outcomes: list[Task | CreateRefused]) -> Message:
                failed = dict(refusals)
                response = messages.BatchCreateTasksResponse()
                for index, outcome in zip(new_tasks, outcomes, strict=True):
                    if isinstance(outcome, CreateRefused):
                        failed[index] = task_refused(outcome.reason)
                    else:
                        response.tasks.append(task_message(outcome, request.requests[index].response_view))
                metadata = messages.BatchCreateTasksMetadata()
                return self._operation(name, metadata, failed, response, started_at, len(request.requests))

            receipt = _Receipt(finish, self._operations)
            writing = self._engine.create_tasks(parent, [*new_tasks.values()], receipt if must_store else None)
            return receipt.settle(await writing)

        return await self._operations.run("create", parent, request.request_id, create)

    async def delete_tasks(self, request: Message) -> Message:
        """Delete up to 1000 tasks; a push of one that is under way goes on and counts no more."""
        parent = find_queue(self._engine, request.parent).name
        if not 1 <= len(request.names) <= MAX_DELETES:
            raise invalid(f"BatchDeleteTasksRequest.names must hold 1 to {MAX_DELETES} names.")
        for name in request.names:
            if not name.startswith(f"{parent}/tasks/"):
                raise queue_mismatch(parent, name.partition("/tasks/")[0])

        async def delete(name: str, must_store: bool) -> Message:
            started_at = self._clock.now()
            task_ids, refusals = _sort(request.names, lambda name: names.split_task(name)[1])

            def finish(outcomes: list[Missing | None]) -> Message:
                failed = dict(refusals)
                failed.update(
                    (index, task_missing()) for index, outcome in zip(task_ids, outcomes, strict=True) if outcome
                )
                metadata = messages.BatchDeleteTasksMetadata()
                return self._operation(name, metadata, failed, Empty(), started_at, len(request.names))

            receipt = _Receipt(finish, self._operations)
            writing = self._engine.delete_tasks(parent, [*task_ids.values()], receipt if must_store else None)
            return receipt.settle(await writing)

        return await self._operations.run("delete", parent, request.request_id, delete)

    def _operation(
        self,
        name: str,
        metadata: Message,
        failed: dict[int, ApiError],
        response: Message,
        started_at: float,
        asked: int,
    ) -> Message:
        """An operation that is done."""
        metadata.state = "SUCCEEDED" if not failed else "PARTIALLY_SUCCEEDED" if len(failed) < asked else "FAILED"
        for index, refusal in failed.items():
            metadata.failed_requests[index].CopyFrom(refusal.to_status())
        set_time(metadata.start_time, started_at)
        set_time(metadata.end_time, self._clock.now())
        operation = Operation(name=name, done=True)
        operation.metadata.Pack(metadata)
        operation.response.Pack(response)
        return operation


class _Receipt(Generic[T]):
    """Makes the operation of a batch once: inside its durable write, or after it when nothing has to be stored."""

    def __init__(self, finish: Callable[[list[T]], Message], operations: Operations) -> None:
        self._finish = finish
        self._operations = operations
        self._operation: Message | None = None

    def __call__(self, outcomes: list[T]) -> Document:
        self._operation = self._finish(outcomes)
        return self._operations.document(self._operation)

    def settle(self, outcomes: list[T]) -> Message:
        return self._operation if self._operation is not None else self._finish(outcomes)


def _sort(requests: list[Message], read: Callable[[Message], T]) -> tuple[dict[int, T], dict[int, ApiError]]:
    """What was read of each request, or its refusal, both by index."""
    good: dict[int, T] = {}
    bad: dict[int, ApiError] = {}
    for index, request in enumerate(requests):
        try:
            good[index] = read(request)
        except ApiError as refusal:
            bad[index] = refusal
    return good, bad
