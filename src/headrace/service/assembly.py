"""Puts the parts behind the contract together: database, driver, runs, attempts."""

import time
import uuid
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import orjson

from headrace.alerts import Alerts, make_alerting
from headrace.alerts.rules import Thresholds
from headrace.clock import Clock
from headrace.config.settings import Settings
from headrace.contract.operations import Contract, Operation
from headrace.contract.principals import RootToken
from headrace.contract.validation import Validation
from headrace.database import Database
from headrace.database.facts import Observers
from headrace.drivers.base import Driver, Push
from headrace.drivers.queues import QueueControls
from headrace.errors import StartError
from headrace.execution.attempts import BatchExecutor
from headrace.execution.watchdog import Watchdog
from headrace.observability.metrics import Metrics
from headrace.observability.minutes import Minutes
from headrace.observability.progress import DatabaseProgress
from headrace.operators import make_operators
from headrace.operators.situation import Situation
from headrace.operators.tokens import Tokens
from headrace.operators.workers import MachineLoad, Workers
from headrace.runs.definitions import TASK_INLINE_MAX_CONCURRENT, environment_of
from headrace.runs.firings import Firings
from headrace.runs.override_copy import OverrideCopy
from headrace.runs.overrides import LiveValues, Overrides
from headrace.runs.policy import RunPolicy
from headrace.runs.progress import Progress
from headrace.runs.pushing import Pusher
from headrace.runs.queue_limits import RetriesInForce
from headrace.runs.relay import Relay
from headrace.runs.schedules import Schedules
from headrace.runs.starting import JobStarter
from headrace.runs.timetable import entries_of
from headrace.service.continuation import CONTINUATION
from headrace.service.current import Service
from headrace.service.drivers import Carriers, make_carriers
from headrace.service.shedding import Admission, LoadLimits, Machine
from headrace.sweeps import Sweeps
from headrace.sweeps.purging import Purger
from headrace.sweeps.reaping import Reaper
from headrace.sweeps.reconciling import Reconciler
from headrace.sweeps.scheduling import Scheduling


def assemble(
    settings: Settings,
    clock: Clock,
    contract: Contract,
    *,
    database: Database | None = None,
    driver: Driver | None = None,
    controls: QueueControls | None = None,
) -> Service:
    """The service on the database and the drivers of the settings, where no other is given. None is asked yet.

    With another `driver`, its queues are asked and steered by `controls`, or not at all.
    """
    database = database or Database(settings.database_url)
    if driver is None:
        carriers = make_carriers(settings, clock, contract)
    else:
        carriers = Carriers(driver, controls or QueueControls({}, driver.name, {}))
    driver = carriers.driver
    policy = RunPolicy(
        split_lease=settings.split_lease,
        overdue=settings.overdue,
        lease_margin=settings.lease_margin,
        claim_above=settings.claim_above,
    )
    relay = Relay(database, contract, driver, clock, policy, settings.service_url)
    pusher = Pusher(database, contract, driver, clock, policy, relay)
    queues = {each.operation_id: each.task.queue for each in contract.operations if each.task is not None}
    metrics, minutes = Metrics(queues), Minutes(database, clock)
    database.observer = Observers((metrics, minutes))
    go_on = _Continuation(contract, driver, settings.service_url)
    starter = JobStarter(pusher, policy, go_on)
    environment = environment_of(settings)
    copy = OverrideCopy(database, time.monotonic)
    live = LiveValues(copy, environment)
    executor = BatchExecutor(
        *(database, contract, clock, policy, relay, go_on),
        retries=RetriesInForce(copy, contract),
        cap=lambda: int(live[TASK_INLINE_MAX_CONCURRENT]),
    )
    admission = Admission(partial(_load_limits, live), Machine, time.monotonic, metrics.reject)
    operators = make_operators(pusher, go_on, carriers.controls, copy.forget)
    firings = Firings(starter, entries_of(contract), _UrlReader(contract))
    alerting = make_alerting(
        database,
        contract,
        clock,
        routes=settings.alert_routes,
        thresholds=partial(_thresholds, live),
        service_url=settings.service_url,
        heartbeat=settings.heartbeat_url,
    )
    sweeps = Sweeps(
        database,
        clock,
        policy,
        relay,
        starter,
        Reaper(database, contract, clock, relay),
        Reconciler(database, contract, driver, clock, policy),
        Purger(database, clock, policy),
        Scheduling(database, contract, clock, firings, settings.release),
        alerting.sweep,
        operators.queues.keep_limits,
    )
    return Service(
        settings=settings,
        clock=clock,
        contract=contract,
        jobs=starter,
        batches=executor,
        sweeps=sweeps,
        reader=Progress(database),
        readiness=DatabaseReadiness(database),
        pusher=pusher,
        overrides=Overrides(database, contract, clock, environment, copy.forget),
        firings=firings,
        schedules=Schedules(firings, contract),
        give_back=executor.give_back,
        queue=carriers.queue,
        watchdog=Watchdog(executor, clock, grace=settings.overdue_grace),
        admit_batch=admission.admit,
        database=database,
        operators=operators,
        situation=Situation(database, clock, queues),
        after_request=minutes.write_due,
        alerts=Alerts(database, clock, settings.alert_routes),
        stall=DatabaseProgress(database, clock, settings.stalled_after),
        metrics=partial(metrics.expose, database, clock),
        tokens=Tokens(database, clock, RootToken(settings.admin_token)),
        workers=Workers(database, clock, live, lambda: MachineLoad(admission.load().cpu, admission.excess())),
    )


def _load_limits(live: LiveValues) -> LoadLimits:
    return LoadLimits(live["shed_cpu"] or None, live["shed_memory"] or None)


def _thresholds(live: LiveValues) -> Thresholds:
    return Thresholds(
        failure_share=live["alert_failure_share"] / 100, waiting=live["alert_waiting"], repeat=live["alert_repeat"]
    )


class _UrlReader:
    """Reads the parameters of urls as their endpoints would; made at its first use, for few processes sweep."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    @cached_property
    def _validation(self) -> Validation:
        return Validation(self._contract)

    def __call__(self, operation: Operation, url: str) -> dict[str, Any]:
        return self._validation.read_url(operation, url)


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
                    driver=operation.task.driver,
                )
            ]
        )
