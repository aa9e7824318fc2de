"""Cloud Tasks v2: the methods on queues."""

import struct
from asyncio import Lock

from headrace.clock import Clock
from headrace.cloud import names
from headrace.cloud.descriptors import Empty, Message
from headrace.cloud.documents import Documents
from headrace.cloud.errors import entity_missing, queue_existed_recently, queue_exists, queue_missing
from headrace.cloud.overrides import Overrides
from headrace.cloud.pages import page_size, read_token, write_token
from headrace.cloud.services import Rpc
from headrace.cloud.tasks import messages
from headrace.cloud.tasks.filters import parse_filter
from headrace.cloud.tasks.policies import Policies
from headrace.cloud.tasks.queue_answers import queue_message
from headrace.cloud.tasks.queue_requests import default_queue, read_queue, read_update
from headrace.engine.engine import Engine
from headrace.engine.model import Queue, QueueState

MAX_QUEUES_PAGE = 9800

_TIME = struct.Struct("<d")


class Queues:
    """The queues of one engine. `rpcs` holds the methods, by name.

    `name_memory`: seconds that the names of finished tasks stay taken in queues made here. `tombstones` are the
    times at which queues were deleted, by name; the name of one stays taken for `tombstone_memory` seconds.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        tombstones: Documents,
        policies: Policies,
        overrides: Overrides,
        *,
        name_memory: float,
        tombstone_memory: float,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._tombstones = tombstones
        self._policies = policies
        self._overrides = overrides
        self._name_memory = name_memory
        self._tombstone_memory = tombstone_memory
        # Whether a queue exists, and what it is, is read before it is written.
        self._changing = Lock()
        self.rpcs: dict[str, Rpc] = {
            "CreateQueue": Rpc(messages.CreateQueueRequest, self.create_queue),
            "UpdateQueue": Rpc(messages.UpdateQueueRequest, self.update_queue),
            "DeleteQueue": Rpc(messages.DeleteQueueRequest, self.delete_queue),
            "GetQueue": Rpc(messages.GetQueueRequest, self.get_queue),
            "ListQueues": Rpc(messages.ListQueuesRequest, self.list_queues),
            "PauseQueue": Rpc(messages.PauseQueueRequest, self.pause_queue),
            "ResumeQueue": Rpc(messages.ResumeQueueRequest, self.resume_queue),
            "PurgeQueue": Rpc(messages.PurgeQueueRequest, self.purge_queue),
        }

    async def create_queue(self, request: Message) -> Message:
        """Make a queue; what the request leaves out gets the service's defaults."""
        location = names.check_location(request.parent)
        name = names.check_new_queue(request.queue.name, location)
        queue = read_queue(request.queue, default_queue(name, self._name_memory))
        async with self._changing:
            if self._engine.get_queue(name) is not None:
                raise queue_exists()
            self._check_tombstone(name)
            return queue_message(await self._engine.put_queue(queue))

    async def make_missing(self, name: str) -> None:
        """Make the queue with the service's defaults, unless it exists or did so recently."""
        if self._engine.get_queue(name) is None:
            async with self._changing:
                if self._engine.get_queue(name) is None and not self._is_taken(name):
                    await self._engine.put_queue(default_queue(name, self._name_memory))

    async def update_queue(self, request: Message) -> Message:
        """Give a queue other limits, or make it if it is missing."""
        name = names.check_queue(request.queue.name)
        async with self._changing:
            current = self._engine.get_queue(name)
            if current is None:
                self._check_tombstone(name)
                current = default_queue(name, self._name_memory)
            queue = read_update(request.queue, request.update_mask.paths, current)
            return queue_message(await self._engine.put_queue(queue))

    async def delete_queue(self, request: Message) -> Message:
        """Delete a queue with its tasks, and keep its name taken for a time."""
        name = names.check_queue(request.name)
        async with self._changing:
            if self._engine.get_queue(name) is None:
                raise entity_missing()
            await self._forget_tombstones()
            # The queue goes last: a crash before leaves it as it was, and what is written here harms no living queue.
            await self._tombstones.put(name, _TIME.pack(self._clock.now()))
            await self._policies.forget(name)
            await self._overrides.forget(name)
            await self._engine.delete_queue(name)
        return Empty()

    async def get_queue(self, request: Message) -> Message:
        """One queue with its limits."""
        return queue_message(find_queue(self._engine, request.name))

    async def list_queues(self, request: Message) -> Message:
        """A page of a location's queues, by name; those alone that the filter lets through."""
        location = names.check_location(request.parent)
        matches = parse_filter(request.filter, messages.Queue.DESCRIPTOR)
        size = page_size(request.page_size, MAX_QUEUES_PAGE)
        listing, now = f"{location} {request.filter}", self._clock.now()
        after = read_token(request.page_token, listing, now)
        answer = messages.ListQueuesResponse()
        for queue in self._engine.list_queues():
            if queue.name <= after or names.location_of(queue.name) != location:
                continue
            message = queue_message(queue)
            if not matches(message):
                continue
            if len(answer.queues) == size:
                answer.next_page_token = write_token(answer.queues[-1].name, listing, now)
                break
            answer.queues.append(message)
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

    def _check_tombstone(self, name: str) -> None:
        if self._is_taken(name):
            raise queue_existed_recently()

    def _is_taken(self, name: str) -> bool:
        written = self._tombstones.get(name)
        return written is not None and self._clock.now() < _TIME.unpack(written)[0] + self._tombstone_memory

    async def _forget_tombstones(self) -> None:
        await self._tombstones.remove(*(name for name in self._tombstones if not self._is_taken(name)))


def find_queue(engine: Engine, name: str) -> Queue:
    """The queue with this full name. ApiError for what is no queue's name, or when there is none."""
    queue = engine.get_queue(names.check_queue(name))
    if queue is None:
        raise queue_missing()
    return queue


def _queue_answer(queue: Queue | None) -> Message:
    if queue is None:
        raise queue_missing()
    return queue_message(queue)
