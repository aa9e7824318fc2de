"""The drivers of a service: those that its settings and its contract name, and no other."""

import time
from collections import defaultdict
from dataclasses import dataclass

from headrace.clock import Clock
from headrace.config.settings import INLINE, Settings
from headrace.contract.operations import Contract
from headrace.drivers.base import Driver
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.drivers.cloudtasks_queues import CloudTasksControl
from headrace.drivers.queue_server import QueueServerControl
from headrace.drivers.queues import QueueControl, QueueControls
from headrace.drivers.routing import Drivers
from headrace.errors import ConfigError, Fault
from headrace.service.ports import InProcessQueue


@dataclass(frozen=True, slots=True)
class Carriers:
    """What carries the tasks of a service, what asks and steers its queues, and the queue in this process, if any."""

    driver: Driver
    controls: QueueControls
    queue: InProcessQueue | None = None


def make_carriers(settings: Settings, clock: Clock, contract: Contract) -> Carriers:
    """The drivers as one, and what steers their queues; none is asked yet.

    Raises ConfigError where that queue would be in several processes.
    """
    carried: dict[str, set[str]] = defaultdict(set)
    for operation in contract.operations:
        if operation.task is not None:
            carried[operation.task.queue].add(operation.task.driver or settings.driver)
    names = {settings.driver}.union(*carried.values())
    drivers: dict[str, Driver] = {}
    controls: dict[str, QueueControl] = {}
    queue = None
    if names - {INLINE}:
        drivers[CloudTasksDriver.name] = _cloud_tasks(settings)
        controls[CloudTasksDriver.name] = _cloud_tasks_control(settings)
    if INLINE in names:
        if settings.workers > 1:
            message = "WEB_CONCURRENCY: Must be 1 with the driver inline: one process can hold the queue's data."
            raise ConfigError([Fault("environment", 0, 0, message)])
        # Imported here: a service with another driver loads no engine.
        from headrace.drivers.inline import InlineDriver

        drivers[INLINE] = queue = InlineDriver(settings, clock, fires=settings.driver == INLINE)
        controls[INLINE] = queue.control
    carries = {name: frozenset(each) for name, each in carried.items()}
    default = settings.driver
    return Carriers(Drivers(drivers, default, carries), QueueControls(controls, default, carries), queue)


def _cloud_tasks(settings: Settings) -> CloudTasksDriver:
    return CloudTasksDriver(
        project=settings.project,
        location=settings.location,
        service_account=settings.task_service_account,
        audience=settings.service_url,
        emulator_host=settings.tasks_emulator,
        emulator_token=settings.queue_server_token,
        monotonic=time.monotonic,
    )


def _cloud_tasks_control(settings: Settings) -> QueueControl:
    """A queue server that is known is asked by its own API, which tells more than that of Cloud Tasks."""
    project, location, token = settings.project, settings.location, settings.queue_server_token
    if settings.queue_server_url is not None:
        return QueueServerControl(settings.queue_server_url, project=project, location=location, token=token)
    return CloudTasksControl(
        project=project, location=location, emulator_host=settings.tasks_emulator, emulator_token=token
    )
