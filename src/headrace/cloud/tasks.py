"""The service google.cloud.tasks.v2.CloudTasks on the engine.

Each method takes a request message and gives an answer message, or raises ApiError. Nothing here knows gRPC,
so another front can call the same methods; `cloud/rpc.py` puts them on the wire.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import uuid4

from headrace.clock import Clock
from headrace.cloud import messages, names
from headrace.cloud.answers import queue_message, set_time, task_message
from headrace.cloud.errors import (
    ApiError,
    invalid,
    queue_mismatch,
    queue_missing,
    task_existed_recently,
    task_exists,
    task_missing,
    unimplemented,
)
from headrace.cloud.messages import Message
from headrace.cloud.validation import read_create
from headrace.engine.engine import Engine
from headrace.engine.model import CreateRefused, Missing, Queue, QueueState, RefusedReason, Task

MAX_BATCH = 100
MAX_TASKS_PAGE = 1000
MAX_QUEUES_PAGE = 9800
_TASKS_A_READ = 100
_PAGE_BYTES = 2 << 20
"""A page of tasks ends above this; clients take 4 MiB a message unless told otherwise."""

Method: TypeAlias = Callable[[Message], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method of the service: the class of its request, and what answers it."""

    request_class: Any
    answer: Method


class CloudTasks:
    """Cloud Tasks v2 for callers of one engine. `rpcs` holds the methods served, by name."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.rpcs: dict[str, Rpc] = {
            "CreateTask": Rpc(messages.CreateTaskRequest, self.create_task),
            "BatchCreateTasks": Rpc(messages.BatchCreateTasksRequest, self.batch_create_tasks),
            "GetTask": Rpc(messages.GetTaskRequest, self.get_task),
            "ListTasks": Rpc(messages.ListTasksRequest, self.list_tasks),
            "DeleteTask": Rpc(messages.DeleteTaskRequest, self.delete_task),
            "RunTask": Rpc(messages.RunTaskRequest, self.run_task),
            "GetQueue": Rpc(messages.GetQueueRequest, self.get_queue),
            "ListQueues": Rpc(messages.ListQueuesRequest, self.list_queues),
            "PauseQueue": Rpc(messages.PauseQueueRequest, self.pause_queue),
            "ResumeQueue": Rpc(messages.ResumeQueueRequest, self.resume_queue),
            "PurgeQueue": Rpc(messages.PurgeQueueRequest, self.purge_queue),
        }

    async def create_task(self, request: Message) -> Message:
        """Create one task; the answer leaves after it is on disk."""
        parent = names.check_queue(request.parent)
        new_task = read_create(request, parent, self._clock.now())
        (outcome,) = await self._engine.create_tasks(parent, [new_task])
        return task_message(_created(outcome), request.response_view)

    async def batch_create_tasks(self, request: Message) -> Message:
        """Create up to 100 tasks in one durable write; a task that is refused does not hold back the others.

        The operation is done when it is answered: `response` has the tasks that were created, in order,
        `metadata.failed_requests` the refusal of each other one by its index.
        """
        started_at = self._clock.now()
        parent = names.check_queue(request.parent)
        if not 1 <= len(request.requests) <= MAX_BATCH:
            raise invalid(f"BatchCreateTasksRequest.requests must hold 1 to {MAX_BATCH} requests.")
        if self._engine.get_queue(parent) is None:
            raise queue_missing()
        metadata = messages.BatchCreateTasksMetadata()
        new_tasks, indices = [], []
        for index, single in enumerate(request.requests):
            if single.parent not in ("", parent):
                raise queue_mismatch(parent, single.parent)
            try:
                new_tasks.append(read_create(single, parent, started_at))
                indices.append(index)
            except ApiError as refusal:
                metadata.failed_requests[index].CopyFrom(refusal.to_status())
        response = messages.BatchCreateTasksResponse()
        for index, outcome in zip(indices, await self._engine.create_tasks(parent, new_tasks), strict=True):
            try:
                task = task_message(_created(outcome), request.requests[index].response_view)
                response.tasks.append(task)
            except ApiError as refusal:
                metadata.failed_requests[index].CopyFrom(refusal.to_status())
        metadata.state = _batch_state(created=len(response.tasks), failed=len(metadata.failed_requests))
        set_time(metadata.start_time, started_at)
        set_time(metadata.end_time, self._clock.now())
        name = f"{parent.partition('/queues/')[0]}/operations/{uuid4()}"
        operation = messages.Operation(name=name, done=True)
        operation.metadata.Pack(metadata)
        operation.response.Pack(response)
        return operation

    async def get_task(self, request: Message) -> Message:
        """One task that waits or runs."""
        outcome = await self._engine.get_task(*names.split_task(request.name))
        if isinstance(outcome, Missing):
            raise task_missing(existed_recently=outcome.existed_recently)
        return task_message(outcome, request.response_view)

    async def list_tasks(self, request: Message) -> Message:
        """A page of a queue's tasks, in the order of their creation; large tasks make a page end early."""
        parent = names.check_queue(request.parent)
        if self._engine.get_queue(parent) is None:
            raise queue_missing()
        most = _page_size(request.page_size, MAX_TASKS_PAGE)
        after = _read_task_token(request.page_token)
        answer = messages.ListTasksResponse()
        size = 0
        # One more than fits is read, so that the last page carries no token.
        while tasks := await self._engine.list_tasks(parent, after, min(_TASKS_A_READ, most + 1)):
            for task in tasks:
                if len(answer.tasks) == most or size > _PAGE_BYTES:
                    answer.next_page_token = _write_token(str(after))
                    return answer
                message = task_message(task, request.response_view)
                answer.tasks.append(message)
                size += message.ByteSize()
                after = task.id
        return answer

    async def delete_task(self, request: Message) -> Message:
        """Delete a task; a push of it that is under way goes on and counts no more."""
        if await self._engine.delete_task(*names.split_task(request.name)) is not None:
            raise task_missing()
        return messages.Empty()

    async def run_task(self, request: Message) -> Message:
        """Push a task now, even when its queue is paused or over its rate."""
        outcome = await self._engine.run_task(*names.split_task(request.name))
        if isinstance(outcome, Missing):
            raise task_missing()
        return task_message(outcome, request.response_view)

    async def get_queue(self, request: Message) -> Message:
        """One queue with its limits."""
        return _queue_answer(self._engine.get_queue(names.check_queue(request.name)))

    async def list_queues(self, request: Message) -> Message:
        """A page of a location's queues, by name."""
        if request.filter:
            raise unimplemented("ListQueues with a filter")
        prefix = names.check_location(request.parent) + "/queues/"
        after = _read_token(request.page_token)
        size = _page_size(request.page_size, MAX_QUEUES_PAGE)
        found = [q for q in self._engine.list_queues() if q.name.startswith(prefix) and q.name > after]
        answer = messages.ListQueuesResponse(queues=map(queue_message, found[:size]))
        if len(found) > size:
            answer.next_page_token = _write_token(found[size - 1].name)
        return answer

    async def pause_queue(self, request: Message) -> Message:
        """Stop pushing a queue's tasks; tasks may still be created."""
        return await self._set_state(request, QueueState.PAUSED)

    async def resume_queue(self, request: Message) -> Message:
        """Push a paused queue's tasks again."""
        return await self._set_state(request, QueueState.RUNNING)

    async def purge_queue(self, request: Message) -> Message:
        """Delete every task created until now."""
        return _queue_answer(await self._engine.purge_queue(names.check_queue(request.name)))

    async def _set_state(self, request: Message, state: QueueState) -> Message:
        return _queue_answer(await self._engine.set_queue_state(names.check_queue(request.name), state))


def _created(outcome: Task | CreateRefused) -> Task:
    if isinstance(outcome, Task):
        return outcome
    match outcome.reason:
        case RefusedReason.EXISTS:
            raise task_exists()
        case RefusedReason.EXISTED_RECENTLY:
            raise task_existed_recently()
        case RefusedReason.QUEUE_MISSING:
            raise queue_missing()


def _queue_answer(queue: Queue | None) -> Message:
    if queue is None:
        raise queue_missing()
    return queue_message(queue)


def _batch_state(*, created: int, failed: int) -> str:
    if not failed:
        return "SUCCEEDED"
    return "PARTIALLY_SUCCEEDED" if created else "FAILED"


def _page_size(asked: int, most: int) -> int:
    if asked < 0:
        raise invalid("The page size cannot be negative.")
    return min(asked or most, most)


def _write_token(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _bad_token() from error


def _read_task_token(token: str) -> int:
    place = _read_token(token) or "0"
    if not place.isdecimal():
        raise _bad_token()
    return int(place)


def _bad_token() -> ApiError:
    return invalid("The page token is not one that this method gave.")
