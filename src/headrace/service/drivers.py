"""The drivers of a service: those that its settings and its contract name, and no other."""

import time
from collections import defaultdict

from headrace.clock import Clock
from headrace.config.settings import INLINE, Settings
from headrace.contract.operations import Contract
from headrace.drivers.base import Driver
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.drivers.routing import Drivers
from headrace.errors import ConfigError, Fault
from headrace.service.ports import InProcessQueue


def make_drivers(settings: Settings, clock: Clock, contract: Contract) -> tuple[Drivers, InProcessQueue | None]:
    """The drivers as one, and the queue in this process where one of them needs it; none is asked yet.

    Raises ConfigError where that queue would be in several processes.
    """
    carried: dict[str, set[str]] = defaultdict(set)
    for operation in contract.operations:
        if operation.task is not None:
            carried[operation.task.queue].add(operation.task.driver or settings.driver)
    names = {settings.driver}.union(*carried.values())
    drivers: dict[str, Driver] = {}
    queue = None
    if names - {INLINE}:
        drivers[CloudTasksDriver.name] = _cloud_tasks(settings)
    if INLINE in names:
        if settings.workers > 1:
            message = "WEB_CONCURRENCY: Must be 1 with the driver inline: one process can hold the queue's data."
            raise ConfigError([Fault("environment", 0, 0, message)])
        # Imported here: a service with another driver loads no engine.
        from headrace.drivers.inline import InlineDriver

        drivers[INLINE] = queue = InlineDriver(settings, clock, fires=settings.driver == INLINE)
    return Drivers(drivers, settings.driver, {name: frozenset(each) for name, each in carried.items()}), queue


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
