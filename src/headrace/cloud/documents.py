"""What the APIs keep beside queues and tasks: documents of one kind, in memory and in the store."""

from asyncio import gather
from collections.abc import Iterator

from headrace.engine.store.interface import Store
from headrace.engine.store.written import written


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
        write = self._store.save_document(self.kind, key, content)
        await written(write, lambda _: self._contents.update({key: content}))

    async def remove(self, *keys: str) -> None:
        """Remove documents; those that are not there are passed over."""
        await gather(*(self._remove(key) for key in keys if key in self._contents))

    async def _remove(self, key: str) -> None:
        await written(self._store.delete_document(self.kind, key), lambda _: self._contents.pop(key, None))

    async def clear(self) -> None:
        """Remove all."""
        await self.remove(*self._contents)
