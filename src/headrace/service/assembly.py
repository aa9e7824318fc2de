"""Puts the parts behind the contract together: database, driver, runs, attempts."""

import time
import uuid
from dataclasses import dataclass

import orjson

from headrace.clock import Clock
from headrace.config.settings import Settings
from headrace.contract.operations import Contract
from headrace.database import Database
from headrace.drivers.base import Driver, Push
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.errors import StartError
from headrace.execution.attempts import BatchExecutor
from headrace.runs.overrides import Overrides
from headrace.runs.policy import RunPolicy
from headrace.runs.progress import Progress
from headrace.runs.pushing import Pusher
from headrace.runs.relay import Relay
from headrace.runs.starting import JobStarter
from headrace.runs.sweeps import Sweeps
from headrace.service.current import Service

CONTINUATION = "headrace.service.continuation.continue_split"


def assemble(
    settings: Settings,
    clock: Clock,
    contract: Contract,
    *,
    database: Database | None = None,
    driver: Driver | None = None,
) -> Service:
    """The service on the settings' database and on Cloud Tasks, where no other is given. Neither is asked yet."""
    database = database or Database(settings.database_url)
    driver = driver or _cloud_tasks(settings)
    policy = RunPolicy(split_lease=settings.split_lease, overdue=settings.overdue, lease_margin=settings.lease_margin)
    relay = Relay(database, contract, driver, clock, policy, settings.service_url)
    pusher = Pusher(database, contract, driver, clock, relay)
    starter = JobStarter(pusher, policy, _Continuation(contract, driver, settings.service_url))
    executor = BatchExecutor(database, clock, policy)
    return Service(
        settings=settings,
        clock=clock,
        contract=contract,
        jobs=starter,
        batches=executor,
        sweeps=Sweeps(database, contract, driver, clock, policy, relay, starter),
        reader=Progress(database),
        readiness=DatabaseReadiness(database),
        pusher=pusher,
        overrides=Overrides(database, contract, clock),
        give_back=executor.give_back,
    )


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


@dataclass(frozen=True, slots=True)
class DatabaseReadiness:
    """Ready when the database answers and its tables are of this version."""

    database: Database

    def problem(self) -> str | None:
        """See `Readiness.problem`."""
        # Imported here: a cold start does not wait for it.
        from headrace.database import migration

        try:
            migration.check(self.database)
        except StartError as error:
            return str(error)
        return None


@dataclass(frozen=True, slots=True)
class _Continuation:
    """Asks that a split go on, by a task of its own. Where that fails, the resume sweep does it a little later."""

    contract: Contract
    driver: Driver
    service_url: str

    def __call__(self, run_id: str) -> None:
        operation = self.contract.by_id.get(CONTINUATION)
        if operation is None or operation.task is None:
            return
        self.driver.push_many(
            [
                Push(
                    queue=operation.task.queue,
                    name=f"split-{uuid.uuid4().hex}",
                    url=self.service_url + operation.path,
                    body=orjson.dumps({"run_id": run_id}),
                    deadline=operation.task.dispatch_deadline,
                )
            ]
        )
