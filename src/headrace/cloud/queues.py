"""Cloud Tasks v2: the methods on queues."""

from headrace.cloud import messages, names
from headrace.cloud.descriptors import Message
from headrace.cloud.errors import queue_missing, unimplemented
from headrace.cloud.pages import page_size, read_token, write_token
from headrace.cloud.queue_answers import queue_message
from headrace.cloud.services import Rpc
from headrace.engine.engine import Engine
from headrace.engine.model import Queue, QueueState

MAX_QUEUES_PAGE = 9800


class Queues:
    """The queues of one engine. `rpcs` holds the methods, by name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.rpcs: dict[str, Rpc] = {
            "GetQueue": Rpc(messages.GetQueueRequest, self.get_queue),
            "ListQueues": Rpc(messages.ListQueuesRequest, self.list_queues),
            "PauseQueue": Rpc(messages.PauseQueueRequest, self.pause_queue),
            "ResumeQueue": Rpc(messages.ResumeQueueRequest, self.resume_queue),
            "PurgeQueue": Rpc(messages.PurgeQueueRequest, self.purge_queue),
        }

    async def get_queue(self, request: Message) -> Message:
        """One queue with its limits."""
        return _queue_answer(self._engine.get_queue(names.check_queue(request.name)))

    async def list_queues(self, request: Message) -> Message:
        """A page of a location's queues, by name."""
        if request.filter:
            raise unimplemented("ListQueues with a filter")
        prefix = names.check_location(request.parent) + "/queues/"
        after = read_token(request.page_token)
        size = page_size(request.page_size, MAX_QUEUES_PAGE)
        found = [q for q in self._engine.list_queues() if q.name.startswith(prefix) and q.name > after]
        answer = messages.ListQueuesResponse(queues=map(queue_message, found[:size]))
        if len(found) > size:
            answer.next_page_token = write_token(found[size - 1].name)
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


def _queue_answer(queue: Queue | None) -> Message:
    if queue is None:
        raise queue_missing()
    return queue_message(queue)
