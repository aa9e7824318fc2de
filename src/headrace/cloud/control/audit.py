"""Who did what by hand, over the server's own API and on its console: the newest entries, in the store.

What clients do through the Cloud Tasks and Cloud Scheduler APIs is not here: programs pause, purge and run all the
time.
"""

from collections import deque
from datetime import UTC, datetime
from typing import Any

import orjson

from headrace.clock import Clock
from headrace.cloud.documents import Documents
from headrace.engine.store.interface import Store

KEPT = 1000
"""Entries that are kept; the oldest go first."""


class Audit:
    """Entries `{at, actor, action, object, old, new}`; a write answers once it is durable."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._documents = Documents(store, "audit")
        self._clock = clock
        self._keys: deque[str] = deque()

    async def load(self) -> None:
        """Read what an earlier process kept. Once, after the store was opened and before the first entry."""
        await self._documents.load()
        self._keys = deque(sorted(self._documents))

    async def record(self, actor: str, action: str, object: str, *, old: Any = None, new: Any = None) -> None:
        """Write an entry; `old` and `new` are JSON values: what was changed, where there is such."""
        at = datetime.fromtimestamp(self._clock.now(), UTC).isoformat().replace("+00:00", "Z")
        entry = {"at": at, "actor": actor, "action": action, "object": object, "old": old, "new": new}
        key = f"{int(self._keys[-1]) + 1 if self._keys else 0:012d}"
        self._keys.append(key)
        # What is over the bound goes once the new entry is there: no crash in between loses both.
        await self._documents.put(key, orjson.dumps(entry))
        while len(self._keys) > KEPT:
            await self._documents.remove(self._keys.popleft())

    def list(self, limit: int = KEPT) -> list[dict[str, Any]]:
        """Up to `limit` entries, the newest first."""
        found: list[dict[str, Any]] = []
        for key in reversed(self._keys):
            if len(found) == limit:
                break
            content = self._documents.get(key)
            if content is not None:
                found.append(orjson.loads(content))
        return found
