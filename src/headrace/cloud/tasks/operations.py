"""google.longrunning.Operations: the operations of batch calls, all of them done when they are answered."""

import struct
from asyncio import Future, Task, ensure_future, shield
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid4, uuid5

from headrace.clock import Clock
from headrace.cloud.descriptors import Message, Operation, message_class
from headrace.cloud.errors import entity_missing
from headrace.cloud.names import location_of
from headrace.cloud.services import Rpc
from headrace.engine.store.interface import Document, Store

GetOperationRequest = message_class("google.longrunning.GetOperationRequest")

KIND = "operation"
"""Of their documents in the store."""
MAX_AGE = 24 * 3600.0
"""Seconds that an operation is kept, and that its request_id is known."""
MAX_BYTES = 64 << 20
"""Bytes of all operations that are kept; the oldest go first."""

_TIME = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class _Kept:
    made_at: float
    content: bytes
    is_stored: bool


class Operations:
    """Operations by name: in memory, and in the store those of calls that had a request_id. `rpcs` has the methods."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[str, Task[Message]] = {}
        self.rpcs: dict[str, Rpc] = {"GetOperation": Rpc(GetOperationRequest, self.get_operation)}

    async def load(self) -> None:
        """Read what an earlier process stored. Once, after the store was opened and before anything else."""
        documents = await self._store.load_documents(KIND)
        stored = [(_TIME.unpack_from(content)[0], name) for name, content in documents.items()]
        for made_at, name in sorted(stored):
            self._add(name, _Kept(made_at, documents[name][_TIME.size :], is_stored=True))

    async def clear(self) -> None:
        """Forget all."""
        while self._kept:
            self._drop_oldest()

    async def get_operation(self, request: Message) -> Message:
        """One operation that is still kept."""
        self._drop_old()
        kept = self._kept.get(request.name)
        if kept is None:
            raise entity_missing()
        return Operation.FromString(kept.content)

    async def run(
        self, method: str, queue: str, request_id: str, work: Callable[[str, bool], Awaitable[Message]]
    ) -> Message:
        """The operation of a batch call: made by `work`, unless a call with the same request_id made it before.

        `work` gets the operation's name, and whether it has to store it, by `document`, in the durable write that
        does what was asked. It goes on when the caller is cancelled: a second call waits for the first.
        """
        if not request_id:
            return self._keep(await work(f"{location_of(queue)}/operations/{uuid4()}", False), is_stored=False)
        name = f"{location_of(queue)}/operations/{uuid5(NAMESPACE_URL, f'{method} {queue} {request_id}')}"
        self._drop_old()
        kept = self._kept.get(name)
        if kept is not None:
            return Operation.FromString(kept.content)
        running = self._under_way.get(name)
        if running is None:
            running = self._under_way[name] = ensure_future(self._run(name, work))
            running.add_done_callback(self._ended(name))
        return await shield(running)

    async def _run(self, name: str, work: Callable[[str, bool], Awaitable[Message]]) -> Message:
        return self._keep(await work(name, True), is_stored=True)

    def _ended(self, name: str) -> Callable[[Task[Message]], None]:
        def ended(running: Task[Message]) -> None:
            del self._under_way[name]
            if not running.cancelled():
                running.exception()  # seen, should no caller be left to see it

        return ended

    def document(self, operation: Message) -> Document:
        """An operation as the store keeps it."""
        return Document(KIND, operation.name, _TIME.pack(self._clock.now()) + operation.SerializeToString())

    def _keep(self, operation: Message, *, is_stored: bool) -> Message:
        self._add(operation.name, _Kept(self._clock.now(), operation.SerializeToString(), is_stored))
        return operation

    def _add(self, name: str, kept: _Kept) -> None:
        self._kept[name] = kept
        self._bytes += len(kept.content)
        self._drop_old()

    def _drop_old(self) -> None:
        oldest_kept = self._clock.now() - MAX_AGE
        while self._kept and (self._bytes > MAX_BYTES or next(iter(self._kept.values())).made_at < oldest_kept):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        name, kept = self._kept.popitem(last=False)
        self._bytes -= len(kept.content)
        if kept.is_stored:
            # Nobody waits for this: a document that stays is dropped after the next start.
            self._store.delete_document(KIND, name).add_done_callback(Future.exception)
