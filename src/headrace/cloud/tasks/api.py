"""Cloud Tasks v2 as a whole: its services, and the documents that they keep."""

from headrace.clock import Clock
from headrace.cloud import names
from headrace.cloud.descriptors import Message
from headrace.cloud.documents import Documents
from headrace.cloud.overrides import Overrides
from headrace.cloud.services import Rpc, Service
from headrace.cloud.settings import ServerSettings
from headrace.cloud.tasks.batches import Batches
from headrace.cloud.tasks.buffer import Buffer
from headrace.cloud.tasks.encryption import Encryption
from headrace.cloud.tasks.locations import Locations
from headrace.cloud.tasks.operations import Operations
from headrace.cloud.tasks.policies import Policies
from headrace.cloud.tasks.queues import Queues
from headrace.cloud.tasks.tasks import Tasks
from headrace.engine.engine import Engine
from headrace.engine.store.interface import Store


class TasksApi:
    """All services that a client of Cloud Tasks calls, on one engine; and what people put over its queues' files."""

    def __init__(self, engine: Engine, store: Store, clock: Clock, settings: ServerSettings) -> None:
        tombstones, policies, keys = (Documents(store, kind) for kind in ("deleted queue", "policy", "encryption"))
        self._documents = (tombstones, policies, keys)
        self._operations = Operations(store, clock)
        self.overrides = Overrides(store)
        self.buffer = Buffer(engine, clock)
        of_queues = Policies(engine, policies)
        queues = Queues(
            engine,
            clock,
            tombstones,
            of_queues,
            self.overrides,
            name_memory=settings.name_memory,
            tombstone_memory=settings.queue_name_memory,
        )
        tasks, batches = Tasks(engine, clock), Batches(engine, clock, self._operations)
        rpcs = {**queues.rpcs, **of_queues.rpcs, **Encryption(keys).rpcs, **tasks.rpcs, **batches.rpcs}
        if settings.auto_create_queues:
            rpcs |= {name: _after(queues, rpcs[name]) for name in ("CreateTask", "BatchCreateTasks")}
        self.services = [
            Service("google.cloud.tasks.v2.CloudTasks", rpcs),
            Service("google.cloud.location.Locations", Locations(engine, clock, settings.location).rpcs),
            Service("google.longrunning.Operations", self._operations.rpcs),
        ]

    async def load(self) -> None:
        """Read what an earlier process kept. Once, after the engine was started and before the first call."""
        await self._operations.load()
        await self.overrides.load()
        for documents in self._documents:
            await documents.load()

    async def clear(self) -> None:
        """Forget it all: names of deleted queues, policies, keys, operations, and what was put over files.

        Queues and tasks are the engine's.
        """
        await self._operations.clear()
        await self.overrides.clear()
        for documents in self._documents:
            await documents.clear()


def _after(queues: Queues, rpc: Rpc) -> Rpc:
    """The method, after its request's parent was made where it is missing."""

    async def answer(request: Message) -> Message:
        await queues.make_missing(names.check_queue(request.parent))
        return await rpc.answer(request)

    return Rpc(rpc.request_class, answer)
