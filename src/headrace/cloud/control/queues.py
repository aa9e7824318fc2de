"""The routes of queues and tasks in the server's own API."""

from headrace.cloud import names
from headrace.cloud.control.requests import (
    read_actor,
    read_flag,
    read_object,
    read_page_size,
)
from headrace.cloud.control.steering import Steering
from headrace.cloud.errors import invalid
from headrace.cloud.files import make_queue
from headrace.cloud.fronts.routes import Answer, Call, Route
from headrace.config import read_queue_entry
from headrace.engine.engine import Engine
from headrace.errors import ConfigError

ROOT = "/headrace/v1"
QUEUE = ROOT + "/{queue=projects/*/locations/*/queues/*}"


class QueueRoutes:
    """What people and programs ask of queues.

    Names of finished tasks stay taken for `name_memory` seconds in queues that are put here.
    """

    def __init__(self, engine: Engine, steering: Steering, name_memory: float) -> None:
        self._engine = engine
        self._steering = steering
        self._name_memory = name_memory

    def routes(self) -> list[Route]:
        """All of them."""
        task = QUEUE + "/tasks/{task}"
        return [
            Route("GET", f"{ROOT}/queues", self._list_queues),
            Route("GET", QUEUE, self._get_queue),
            Route("PUT", QUEUE, self._put_queue),
            Route("POST", f"{QUEUE}:pause", self._pause),
            Route("POST", f"{QUEUE}:resume", self._resume),
            Route("POST", f"{QUEUE}:purge", self._purge),
            Route("PATCH", f"{QUEUE}/limits", self._limit),
            Route("DELETE", f"{QUEUE}/limits", self._give_back),
            Route("GET", f"{QUEUE}/tasks", self._list_tasks),
            Route("GET", task, self._get_task),
            Route("POST", f"{task}:run", self._run_task),
            Route("DELETE", task, self._delete_task),
            Route("GET", f"{QUEUE}/deliveries", self._list_deliveries),
            Route("GET", f"{ROOT}/audit", self._list_audit),
        ]

    async def _list_queues(self, call: Call) -> Answer:
        return Answer(200, {"queues": self._steering.list_queues(chart=read_flag(dict(call.query), "chart"))})

    async def _get_queue(self, call: Call) -> Answer:
        chart = read_flag(dict(call.query), "chart")
        return Answer(200, self._steering.get_queue(call.variables["queue"], chart=chart))

    async def _put_queue(self, call: Call) -> Answer:
        name = names.check_queue(call.variables["queue"])
        given = read_object(call.body)
        try:
            entry = read_queue_entry({**given, "name": name.rpartition("/")[2]})
        except ConfigError as error:
            raise invalid(str(error)) from error
        queue = await self._engine.put_queue(make_queue(entry, name, self._name_memory))
        return Answer(200, self._steering.show_queue(queue))

    async def _pause(self, call: Call) -> Answer:
        return Answer(200, await self._steering.pause_queue(call.variables["queue"], actor=read_actor(call)))

    async def _resume(self, call: Call) -> Answer:
        return Answer(200, await self._steering.resume_queue(call.variables["queue"], actor=read_actor(call)))

    async def _purge(self, call: Call) -> Answer:
        purged = await self._steering.purge_queue(call.variables["queue"], actor=read_actor(call))
        return Answer(200, {"purged": purged})

    async def _limit(self, call: Call) -> Answer:
        given = read_object(call.body)
        return Answer(200, await self._steering.limit_queue(call.variables["queue"], given, actor=read_actor(call)))

    async def _give_back(self, call: Call) -> Answer:
        return Answer(200, await self._steering.give_back_limits(call.variables["queue"], actor=read_actor(call)))

    async def _list_tasks(self, call: Call) -> Answer:
        query = dict(call.query)
        name, most = call.variables["queue"], read_page_size(query)
        if read_flag(query, "inLine"):
            return Answer(200, self._steering.list_line(name, most=most))
        return Answer(200, await self._steering.list_tasks(name, most=most, token=query.get("pageToken", "")))

    async def _get_task(self, call: Call) -> Answer:
        return Answer(200, await self._steering.get_task(*_names(call)))

    async def _run_task(self, call: Call) -> Answer:
        return Answer(200, await self._steering.run_task(*_names(call), actor=read_actor(call)))

    async def _delete_task(self, call: Call) -> Answer:
        await self._steering.delete_task(*_names(call), actor=read_actor(call))
        return Answer(200, {})

    async def _list_deliveries(self, call: Call) -> Answer:
        query = dict(call.query)
        found = self._steering.list_deliveries(
            call.variables["queue"], most=read_page_size(query), task=query.get("task")
        )
        return Answer(200, {"deliveries": found})

    async def _list_audit(self, call: Call) -> Answer:
        return Answer(200, {"audit": self._steering.list_audit(read_page_size(dict(call.query)))})


def _names(call: Call) -> tuple[str, str]:
    return names.split_task(f"{call.variables['queue']}/tasks/{call.variables['task']}")
