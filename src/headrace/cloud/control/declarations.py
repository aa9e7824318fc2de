"""The queues and jobs that files declare, in the server that runs: put anew when a file changes, and on a reset."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.cloud.descriptors import Message
from headrace.cloud.errors import ApiError
from headrace.cloud.scheduler.jobs import Jobs
from headrace.cloud.tasks.api import TasksApi
from headrace.engine.engine import Engine
from headrace.engine.errors import StoreUnavailable
from headrace.engine.model import Queue, QueueState
from headrace.errors import ConfigError

PERIOD = 1.0
"""Seconds between two looks at the files."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Declared:
    """What the files say; `cron_jobs` are complete messages of Cloud Scheduler.

    `skipped` are the cron jobs that the overlay leaves out, each as (url, reason).
    """

    queues: list[Queue]
    cron_jobs: list[Message]
    skipped: tuple[tuple[str, str], ...]


class Declarations:
    """What files declare, kept in force; `load` reads the files.

    A queue that leaves its file is kept as it is; a job that does so is gone. Limits that people put over those of a
    file stay in force, until they are given back or there is a reset.
    """

    def __init__(
        self, engine: Engine, tasks: TasksApi, jobs: Jobs, declared: Declared, load: Callable[[], Declared]
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._jobs = jobs
        self._declared = declared
        self._load = load
        self._by_name = {queue.name: queue for queue in declared.queues}

    def find(self, queue: str) -> Queue | None:
        """What the files say of a queue; None where they do not have it."""
        return self._by_name.get(queue)

    async def take_up(self) -> None:
        """Put the queues of the files in force. Once, at the start."""
        for queue in self._declared.queues:
            await self._engine.put_queue(self._tasks.overrides.lay_over(queue))

    async def watch(self, paths: Sequence[Path]) -> None:
        """Load the files again whenever one of them has changed, for ever. A file with a fault changes nothing."""
        seen = _stamps(paths)
        while True:
            await asyncio.sleep(PERIOD)
            if (stamps := _stamps(paths)) != seen and await self.reload():
                seen = stamps

    async def reload(self) -> bool:
        """Put the files in force; only what differs from the last time is written. False: the disk refused it."""
        try:
            declared = await asyncio.to_thread(self._load)
            for queue in declared.queues:
                if queue not in self._declared.queues:
                    await self._engine.put_queue(self._tasks.overrides.lay_over(queue))
            if declared.cron_jobs != self._declared.cron_jobs:
                await self._jobs.load(declared.cron_jobs)
        except StoreUnavailable as error:
            _log.error("the files were not loaded again, and will be tried again: %s", error)
            return False
        except (ConfigError, ApiError) as error:
            _log.error("the files were not loaded again, what they said before stays:\n%s", error)
            return True
        self._declared = declared
        self._by_name = {queue.name: queue for queue in declared.queues}
        _log.warning("loaded again: %d queues, %d jobs", len(declared.queues), len(declared.cron_jobs))
        return True

    async def reset(self) -> None:
        """Everything as after a first start: only what the files declare, without a past."""
        await asyncio.gather(*(self._engine.delete_queue(queue.name) for queue in self._engine.list_queues()))
        await self._tasks.clear()
        await asyncio.gather(*(self._engine.put_queue(queue) for queue in self._declared.queues))
        await self._jobs.reset(self._declared.cron_jobs)

    async def reset_queue(self, queue: Queue) -> None:
        """The queue without a past, running, with its file's limits; one of no file keeps its own."""
        fresh = self.find(queue.name) or replace(queue, state=QueueState.RUNNING, purged_at=None)
        # Handed in together they are one durable write: at no time, and after no crash, is there no queue.
        await asyncio.gather(
            self._engine.delete_queue(queue.name),
            self._engine.put_queue(fresh),
            self._tasks.overrides.forget(queue.name),
        )


def _stamps(paths: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    return [_stamp(path) for path in paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
