"""Cloud Tasks v2: the methods on tasks."""

from headrace.clock import Clock
from headrace.cloud import names
from headrace.cloud.descriptors import Empty, Message
from headrace.cloud.errors import task_missing, task_refused
from headrace.cloud.pages import PAGE_BYTES, each_task, page_size, read_id, write_token
from headrace.cloud.services import Rpc
from headrace.cloud.tasks import messages
from headrace.cloud.tasks.queues import find_queue
from headrace.cloud.tasks.task_answers import task_message
from headrace.cloud.tasks.task_requests import read_create
from headrace.engine.engine import Engine
from headrace.engine.model import CreateRefused, Missing

MAX_TASKS_PAGE = 1000


class Tasks:
    """The tasks of one engine. `rpcs` holds the methods, by name."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.rpcs: dict[str, Rpc] = {
            "CreateTask": Rpc(messages.CreateTaskRequest, self.create_task),
            "GetTask": Rpc(messages.GetTaskRequest, self.get_task),
            "ListTasks": Rpc(messages.ListTasksRequest, self.list_tasks),
            "DeleteTask": Rpc(messages.DeleteTaskRequest, self.delete_task),
            "RunTask": Rpc(messages.RunTaskRequest, self.run_task),
        }

    async def create_task(self, request: Message) -> Message:
        """Create one task; the answer leaves after it is on disk."""
        parent = names.check_queue(request.parent)
        new_task = read_create(request, parent, self._clock.now(), self._engine.may_reach)
        (outcome,) = await self._engine.create_tasks(parent, [new_task])
        if isinstance(outcome, CreateRefused):
            raise task_refused(outcome.reason)
        return task_message(outcome, request.response_view)

    async def get_task(self, request: Message) -> Message:
        """One task that waits or runs."""
        outcome = await self._engine.get_task(*names.split_task(request.name))
        if isinstance(outcome, Missing):
            raise task_missing(existed_recently=outcome.existed_recently)
        return task_message(outcome, request.response_view)

    async def list_tasks(self, request: Message) -> Message:
        """A page of a queue's tasks, in the order of their creation; large tasks make a page end early."""
        parent = find_queue(self._engine, request.parent).name
        most = page_size(request.page_size, MAX_TASKS_PAGE)
        now = self._clock.now()
        after = read_id(request.page_token, parent, now)
        answer = messages.ListTasksResponse()
        size = 0
        async for task in each_task(self._engine, parent, after, most):
            if len(answer.tasks) == most or size > PAGE_BYTES:
                answer.next_page_token = write_token(str(after), parent, now)
                break
            message = task_message(task, request.response_view)
            answer.tasks.append(message)
            size += message.ByteSize()
            after = task.id
        return answer

    async def delete_task(self, request: Message) -> Message:
        """Delete a task; a push of it that is under way goes on and counts no more."""
        queue, task_id = names.split_task(request.name)
        (missing,) = await self._engine.delete_tasks(queue, [task_id])
        if missing is not None:
            raise task_missing()
        return Empty()

    async def run_task(self, request: Message) -> Message:
        """Push a task now, even when its queue is paused or over its rate."""
        outcome = await self._engine.run_task(*names.split_task(request.name))
        if isinstance(outcome, Missing):
            raise task_missing()
        return task_message(outcome, request.response_view)
