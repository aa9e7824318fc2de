"""Cloud Tasks v2: the methods on tasks."""

from uuid import uuid4

from headrace.clock import Clock
from headrace.cloud import messages, names
from headrace.cloud.descriptors import Empty, Message, Operation, set_time
from headrace.cloud.errors import (
    ApiError,
    invalid,
    queue_mismatch,
    queue_missing,
    task_existed_recently,
    task_exists,
    task_missing,
)
from headrace.cloud.pages import bad_token, page_size, read_token, write_token
from headrace.cloud.services import Rpc
from headrace.cloud.task_answers import task_message
from headrace.cloud.task_requests import read_create
from headrace.engine.engine import Engine
from headrace.engine.model import CreateRefused, Missing, RefusedReason, Task

MAX_BATCH = 100
MAX_TASKS_PAGE = 1000
_TASKS_A_READ = 100
_PAGE_BYTES = 2 << 20
"""A page of tasks ends above this; clients take 4 MiB a message unless told otherwise."""


class Tasks:
    """The tasks of one engine. `rpcs` holds the methods, by name."""

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
        operation = Operation(name=name, done=True)
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
        most = page_size(request.page_size, MAX_TASKS_PAGE)
        after = _read_task_token(request.page_token)
        answer = messages.ListTasksResponse()
        size = 0
        # One more than fits is read, so that the last page carries no token.
        while tasks := await self._engine.list_tasks(parent, after, min(_TASKS_A_READ, most + 1)):
            for task in tasks:
                if len(answer.tasks) == most or size > _PAGE_BYTES:
                    answer.next_page_token = write_token(str(after))
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
        return Empty()

    async def run_task(self, request: Message) -> Message:
        """Push a task now, even when its queue is paused or over its rate."""
        outcome = await self._engine.run_task(*names.split_task(request.name))
        if isinstance(outcome, Missing):
            raise task_missing()
        return task_message(outcome, request.response_view)


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


def _batch_state(*, created: int, failed: int) -> str:
    if not failed:
        return "SUCCEEDED"
    return "PARTIALLY_SUCCEEDED" if created else "FAILED"


def _read_task_token(token: str) -> int:
    place = read_token(token) or "0"
    if not place.isdecimal():
        raise bad_token()
    return int(place)
