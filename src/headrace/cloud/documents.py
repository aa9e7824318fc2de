"""What the APIs keep beside queues and tasks: documents of one kind, in memory and in the store."""

from asyncio import Future, gather, shield
from collections.abc import Callable, Iterator

from headrace.engine.store.interface import Store


class Documents:
    """Bytes by key. Reads answer from memory; writes answer once they are durable."""

    def __init__(self, store: Store, kind: str) -> None:
        self.kind = kind
        self._store = store
        self._contents: dict[str, bytes] = {}

    async def load(self) -> None:
        """Read what an earlier process wrote. Once, after the store was opened and before anything else."""
        self._contents = await self._store.load_documents(self.kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._contents)

    def get(self, key: str) -> bytes | None:
        """None when there is none."""
        return self._contents.get(key)

    async def put(self, key: str, content: bytes) -> None:
        """Write a document, in place of an earlier one."""
        written = self._store.save_document(self.kind, key, content)
        await self._written(written, lambda: self._contents.update({key: content}))

    async def remove(self, *keys: str) -> None:
        """Remove documents; those that are not there are passed over."""
        await gather(*(self._remove(key) for key in keys if key in self._contents))

    async def _remove(self, key: str) -> None:
        await self._written(self._store.delete_document(self.kind, key), lambda: self._contents.pop(key, None))

    async def clear(self) -> None:
        """Remove all."""
        await self.remove(*self._contents)

    async def _written(self, write: Future[None], then: Callable[[], object]) -> None:
        """Let `then` act once the write is durable, whether or not the caller still waits."""

        def settled(write: Future[None]) -> None:
            if write.exception() is None:
                then()

        write.add_done_callback(settled)
        await shield(write)
