"""What files declare, in a server that runs; the files themselves are in test_control.py and test_cron.py."""

import asyncio
from dataclasses import replace

from headrace.cloud.control.declarations import Declarations, Declared
from headrace.cloud.scheduler.api import SchedulerApi
from headrace.cloud.tasks.queue_requests import default_queue
from headrace.engine.model import EngineSettings, Queue
from headrace.engine.store.sqlite import SqliteStore
from tests.cloud.inside import QUEUE, Inside, running
from tests.cloud.scheduling import SETTINGS
from tests.engine.harness import Tokens


def declaring(inside: Inside, queue: Queue) -> Declarations:
    """The queue, as files declare it that were found to be empty at the start."""
    scheduler = SchedulerApi(SqliteStore(None), inside.clock, Tokens(), SETTINGS, EngineSettings())
    loaded = Declared([queue], [], ())
    return Declarations(inside.engine, inside.api, scheduler.jobs, replace(loaded, queues=[]), lambda: loaded)


def test_a_file_that_the_disk_kept_out_is_tried_again() -> None:
    async def check() -> None:
        queue = default_queue(QUEUE, 60.0)
        async with running() as inside:
            declarations = declaring(inside, queue)
            assert await declarations.reload()
            assert inside.engine.get_queue(QUEUE) == queue
        async with running() as inside:
            declarations = declaring(inside, queue)
        assert not await declarations.reload()

    asyncio.run(check())


def test_a_queue_that_is_reset_is_there_all_the_time() -> None:
    async def check() -> None:
        async with running() as inside:
            queue = await inside.engine.put_queue(default_queue(QUEUE, 60.0))
            reset = asyncio.ensure_future(declaring(inside, queue).reset_queue(queue))
            while not reset.done():
                assert inside.engine.get_queue(QUEUE) is not None
                await asyncio.sleep(0)
            await reset
            assert inside.engine.get_queue(QUEUE) == queue

    asyncio.run(check())
