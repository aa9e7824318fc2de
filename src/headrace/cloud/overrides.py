"""Limits that a person put over those of a queue's file: in force until they are given back.

They are documents of the store, so that a reload of the files and a restart leave them in force.
"""

from dataclasses import asdict, dataclass, replace

import orjson

from headrace.cloud.documents import Documents
from headrace.engine.model import Queue, RateLimits
from headrace.engine.store.interface import Store
from headrace.retries import RetryLimits


@dataclass(frozen=True, slots=True)
class Override:
    """The limits that were put over those of a file; who did it, and when (epoch seconds)."""

    rate: RateLimits
    retry: RetryLimits
    actor: str
    at: float


class Overrides:
    """The overrides of a server, by the full name of their queue. Writes answer once they are durable."""

    def __init__(self, store: Store) -> None:
        self._documents = Documents(store, "limits")

    async def load(self) -> None:
        """Read what an earlier process kept. Once, before any queue of a file is put."""
        await self._documents.load()

    def get(self, queue: str) -> Override | None:
        """None where nothing was put over the file."""
        content = self._documents.get(queue)
        if content is None:
            return None
        kept = orjson.loads(content)
        return Override(RateLimits(**kept["rate"]), RetryLimits(**kept["retry"]), kept["actor"], kept["at"])

    def lay_over(self, declared: Queue) -> Queue:
        """A queue as its file says, with the limits that were put over them."""
        over = self.get(declared.name)
        return declared if over is None else replace(declared, rate=over.rate, retry=over.retry)

    async def put(self, queue: str, override: Override) -> None:
        """Keep limits, in place of earlier ones."""
        await self._documents.put(queue, orjson.dumps(asdict(override)))

    async def forget(self, queue: str) -> None:
        """The file's limits alone count from now on."""
        await self._documents.remove(queue)

    async def clear(self) -> None:
        """Forget all."""
        await self._documents.clear()
