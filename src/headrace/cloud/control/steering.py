"""Queues and their tasks, seen and steered by hand. Everything belongs to the engine's event loop.

`api.py` serves it over HTTP, `desk.py` to callers on other threads. What changes something is durable, and in the
audit, before it is answered.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from headrace.clock import Clock
from headrace.cloud.control.audit import Audit
from headrace.cloud.control.documents import (
    Document,
    chart_document,
    delivery_document,
    limits_document,
    queue_document,
    task_document,
)
from headrace.cloud.control.requests import read_limits
from headrace.cloud.errors import ApiError, Code, entity_missing, queue_missing, task_missing
from headrace.cloud.overrides import Override, Overrides
from headrace.cloud.pages import PAGE_BYTES, each_task, read_id, write_token
from headrace.cloud.tasks.queues import find_queue
from headrace.engine.engine import Engine
from headrace.engine.model import Missing, Queue, QueueState, Task


class Steering:
    """The queues of one engine, named in full. `declared` gives what the files say of a queue.

    Every method raises ApiError: NOT_FOUND where there is no such queue or task, and StoreUnavailable.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        overrides: Overrides,
        audit: Audit,
        declared: Callable[[str], Queue | None],
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._overrides = overrides
        self._audit = audit
        self._declared = declared
        # Limits are read before they are written.
        self._changing = asyncio.Lock()

    # What stands, and what waits.

    def list_queues(
        self, *, chart: bool = False, most: int | None = None, after: str = "", part: str = ""
    ) -> list[Document]:
        """The queues behind `after` whose id has `part` in it, by name; with `chart`, each with its pushes a minute."""
        found = (
            queue
            for queue in self._engine.list_queues()
            if queue.name > after and part in queue.name.rpartition("/")[2]
        )
        return [self.show_queue(queue, chart=chart) for queue in islice(found, most)]

    def get_queue(self, name: str, *, chart: bool = False) -> Document:
        """One queue."""
        return self.show_queue(find_queue(self._engine, name), chart=chart)

    def show_queue(self, queue: Queue, *, chart: bool = False) -> Document:
        """The document of a queue that the engine has given out."""
        stats, minutes = self._engine.queue_stats(queue.name), self._engine.minutes(queue.name)
        if stats is None or minutes is None:
            raise queue_missing()
        over, declared = self._overrides.get(queue.name), self._declared(queue.name)
        document = queue_document(
            queue,
            stats,
            idle=self._engine.is_idle(queue.name),
            declared=declared,
            set_by=None if over is None or declared is None else over.actor,
        )
        return {**document, "chart": chart_document(minutes)} if chart else document

    async def list_tasks(self, name: str, *, most: int, token: str = "") -> Document:
        """A page of the stored tasks, in the order of their creation; `nextPageToken` where there are more."""
        queue = find_queue(self._engine, name)
        listing, now = f"waiting {queue.name}", self._clock.now()
        page, has_more = await self._read_page(queue.name, read_id(token, listing, now), most)
        next_page = {"nextPageToken": write_token(str(page[-1].id), listing, now)} if has_more else {}
        return {"tasks": self._show_tasks(page), **next_page}

    def list_line(self, name: str, *, most: int) -> Document:
        """The tasks that are being pushed, then those that come next, in the order of their turn."""
        queue = find_queue(self._engine, name)
        return {"tasks": self._show_tasks(self._engine.next_in_line(queue.name, most))}

    async def get_task(self, name: str, task: str) -> Document:
        """One stored task."""
        return self._show_tasks([await self._find_task(name, task)])[0]

    def list_deliveries(self, name: str, *, most: int, task: str | None = None) -> list[Document]:
        """The last deliveries of a queue, or of one of its tasks, the last one first."""
        queue = find_queue(self._engine, name)
        return [delivery_document(queue.name, each) for each in self._engine.deliveries(queue.name, task, most)]

    def list_audit(self, most: int) -> list[Document]:
        """What was done by hand, the newest first."""
        return self._audit.list(most)

    # What is done by hand.

    async def pause_queue(self, name: str, *, actor: str) -> Document:
        """Push nothing more by itself."""
        return await self._set_state(name, QueueState.PAUSED, "pause_queue", actor)

    async def resume_queue(self, name: str, *, actor: str) -> Document:
        """Push again."""
        return await self._set_state(name, QueueState.RUNNING, "resume_queue", actor)

    async def purge_queue(self, name: str, *, actor: str) -> int:
        """Drop every task created until now; how many were stored."""
        queue = find_queue(self._engine, name)
        stats = self._engine.queue_stats(queue.name)
        stored = 0 if stats is None else stats.pending
        # Handed in together, here and below, the change and its entry in the audit are one durable write.
        await asyncio.gather(
            self._engine.purge_queue(queue.name), self._audit.record(actor, "purge_queue", queue.name, old=stored)
        )
        return stored

    async def limit_queue(self, name: str, given: Mapping[str, Any], *, actor: str) -> Document:
        """Put other limits in force; over a queue of a file they stay so until they are given back.

        `given` has `rateLimits` and `retryConfig`, any part of them. ApiError for what no queue may have.
        """
        async with self._changing:
            queue = find_queue(self._engine, name)
            changed = read_limits(given, queue)
            writes = [self._engine.put_queue(changed), self._record_limits(actor, "limit_queue", queue, changed)]
            if self._declared(name) is not None:
                over = Override(changed.rate, changed.retry, actor, self._clock.now())
                await asyncio.gather(self._overrides.put(name, over), *writes)
            else:
                await asyncio.gather(*writes)
        return self.get_queue(name)

    async def give_back_limits(self, name: str, *, actor: str) -> Document:
        """Put the limits of the queue's file in force. ApiError: FAILED_PRECONDITION where no file has the queue."""
        async with self._changing:
            queue, declared = find_queue(self._engine, name), self._declared(name)
            if declared is None:
                raise ApiError(Code.FAILED_PRECONDITION, "No file declares the queue: it has no limits to go back to.")
            changed = replace(queue, rate=declared.rate, retry=declared.retry)
            await asyncio.gather(
                self._overrides.forget(name),
                self._engine.put_queue(changed),
                self._record_limits(actor, "give_back_limits", queue, changed),
            )
        return self.get_queue(name)

    async def run_task(self, name: str, task: str, *, actor: str) -> Document:
        """Push a task now, whatever its queue's state and rate."""
        found = await self._find_task(name, task)
        pushed, _ = await asyncio.gather(
            self._engine.run_task(name, task), self._audit.record(actor, "run_task", f"{name}/tasks/{task}")
        )
        if isinstance(pushed, Missing):
            raise _gone(pushed)
        return self._show_tasks([found])[0]

    async def delete_task(self, name: str, task: str, *, actor: str) -> None:
        """Drop a task; a push under way is its last."""
        await self._find_task(name, task)
        (missing,), _ = await asyncio.gather(
            self._engine.delete_tasks(name, [task]), self._audit.record(actor, "delete_task", f"{name}/tasks/{task}")
        )
        if missing is not None:
            raise _gone(missing)

    # Parts of these.

    async def _set_state(self, name: str, state: QueueState, action: str, actor: str) -> Document:
        queue = find_queue(self._engine, name)
        changed, _ = await asyncio.gather(
            self._engine.set_queue_state(name, state),
            self._audit.record(actor, action, name, old=queue.state.value, new=state.value),
        )
        if changed is None:
            raise queue_missing()
        return self.show_queue(changed)

    async def _record_limits(self, actor: str, action: str, before: Queue, after: Queue) -> None:
        old, new = (limits_document(each.rate, each.retry) for each in (before, after))
        await self._audit.record(actor, action, before.name, old=old, new=new)

    async def _find_task(self, name: str, task: str) -> Task:
        queue = find_queue(self._engine, name)
        found = await self._engine.get_task(queue.name, task)
        if isinstance(found, Missing):
            raise _gone(found)
        return found

    def _show_tasks(self, tasks: Sequence[Task]) -> list[Document]:
        reasons = self._engine.explain(tasks)
        if len(reasons) != len(tasks):
            raise entity_missing()
        return [task_document(task, reason) for task, reason in zip(tasks, reasons, strict=True)]

    async def _read_page(self, queue: str, after: int, most: int) -> tuple[list[Task], bool]:
        """Up to `most` tasks, fewer where they are large but at least one, and whether there are more."""
        page: list[Task] = []
        size = 0
        async for task in each_task(self._engine, queue, after, most):
            size += _size(task)
            if len(page) == most or (page and size > PAGE_BYTES):
                return page, True
            page.append(task)
        return page, False


def _gone(missing: Missing) -> ApiError:
    return task_missing(existed_recently=missing.existed_recently)


def _size(task: Task) -> int:
    """About how many bytes a task has."""
    return len(task.target.body) + sum(len(name) + len(value) for name, value in task.target.headers)
