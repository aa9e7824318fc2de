"""One service instance without HTTP: all that is behind its endpoints, on a database and a queue that others share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from sqlalchemy import Connection, text

from headrace.clock import Clock
from headrace.contract.operations import (
    Contract,
    Guard,
    JobOptions,
    Kind,
    Operation,
    Overlap,
    QueueOptions,
    TaskOptions,
)
from headrace.contract.schemas import Schemas
from headrace.database import Database
from headrace.drivers.base import Driver, Push
from headrace.drivers.queues import QueueControls
from headrace.execution.attempts import BatchExecutor
from headrace.execution.batch import Batch
from headrace.execution.delivery import Delivery
from headrace.operators import make_operators
from headrace.retries import RetryLimits
from headrace.runs.firings import Firings
from headrace.runs.job import Job
from headrace.runs.override_copy import OverrideCopy
from headrace.runs.policy import RunPolicy
from headrace.runs.progress import Progress
from headrace.runs.pushing import Pusher
from headrace.runs.queue_limits import RetriesInForce
from headrace.runs.relay import Relay
from headrace.runs.starting import JobStarter, RunAnswer
from headrace.runs.timetable import entries_of
from headrace.sweeps import Sweeps
from headrace.sweeps.purging import Purger
from headrace.sweeps.reaping import Reaper
from headrace.sweeps.reconciling import Reconciler
from headrace.sweeps.scheduling import Scheduling
from tests.queue_in_memory import QueueInMemory

DOCUMENT = {
    "openapi": "3.1.0",
    "schemas": {
        "Ids": {"type": "array", "items": {"type": "integer"}},
        "Action": {"type": "object"},
        "Actions": {"type": "array", "items": {"type": "object"}},
    },
}
UNLIMITED = RetryLimits(max_attempts=-1, max_duration=0.0, min_backoff=0.1, max_backoff=60.0, max_doublings=16)
HANDLER, JOB = "handlers.numbers.work", "api.numbers.count"


@dataclass
class Numbers:
    """The application of these tests: a job that splits 1..count, and a handler that writes each number down.

    `on_work` and `on_item` are called inside, for a test to fail, kill or wait there.
    """

    count: int = 0
    on_work: Callable[[Batch], None] = lambda batch: None
    on_item: Callable[[int], None] = lambda item: None
    calls: list[list[int]] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    items: Callable[[Connection, Any], Iterator[Any]] | None = None
    key: Callable[[Any], Any] | None = None

    def job(self, job: Job, **parameters: Any) -> None:
        job.split(self.work, self.items or self.numbers, key=self.key)

    def numbers(self, connection: Connection, after: int | None) -> Iterator[int]:
        for item in range((after or 0) + 1, self.count + 1):
            self.on_item(item)
            yield item

    def work(self, batch: Batch) -> None:
        self.calls.append(batch.items)
        self.batches.append(batch)
        self.on_work(batch)
        with batch.transaction() as connection:
            connection.execute(
                text("INSERT INTO written (number, run) VALUES (:number, :run)"),
                [{"number": number, "run": batch.run_id} for number in batch.items],
            )


class Instance:
    """Starts jobs, delivers tasks, sweeps. Two of them on one database are two service instances."""

    def __init__(
        self,
        database: Database,
        queue: Driver,
        clock: Clock,
        application: Numbers,
        *,
        batch_size: int = 3,
        overlap: Overlap = Overlap.SKIP,
        job_time: float = 50.0,
        policy: RunPolicy | None = None,
        retry: RetryLimits = UNLIMITED,
        fallback: Callable[[Batch], None] | None = None,
        others: Sequence[Operation] = (),
        queues: Sequence[QueueOptions] = (),
        controls: QueueControls | None = None,
        **task_options: Any,
    ) -> None:
        self.database, self.queue, self.clock = database, queue, clock
        self.application = application
        self.policy = policy or RunPolicy()
        self.asked_to_go_on: list[str] = []
        task = TaskOptions(queue="work", batch_size=batch_size, time_limit=10.0, **task_options)
        self.handler = Operation(
            "/v1/cloudTask/work",
            "post",
            HANDLER,
            Kind.HANDLER,
            application.work,
            Guard.TASK_QUEUE,
            None,
            task,
            1,
            payload=("schemas", "Ids"),
            fallback=fallback,
        )
        options = JobOptions(overlap=overlap, time_limit=job_time)
        self.job = Operation("/v1/cron/count", "get", JOB, Kind.JOB, application.job, Guard.CRON, options, None, 1)
        declared = {"work": QueueOptions("work", retry)} | {queue.name: queue for queue in queues}
        self.contract = Contract((self.job, self.handler, *others), declared, DOCUMENT, Schemas(DOCUMENT))
        self.relay = Relay(database, self.contract, queue, clock, self.policy, "http://service")
        self.pusher = Pusher(database, self.contract, queue, clock, self.policy, self.relay)
        self.starter = JobStarter(self.pusher, self.policy, self.asked_to_go_on.append)
        copy = OverrideCopy(database, clock.now)
        retries = RetriesInForce(copy, self.contract)
        self.executor = BatchExecutor(
            database, self.contract, clock, self.policy, self.relay, self.asked_to_go_on.append, retries
        )
        self.firings = Firings(self.starter, entries_of(self.contract), read_url)
        controls = controls or QueueControls({}, queue.name, {})
        self.operators = make_operators(self.pusher, self.asked_to_go_on.append, controls, copy.forget)
        self.sweeps = Sweeps(
            database,
            clock,
            self.policy,
            self.relay,
            self.starter,
            Reaper(database, self.contract, clock, self.relay),
            Reconciler(database, self.contract, queue, clock, self.policy),
            Purger(database, clock, self.policy),
            Scheduling(database, self.contract, clock, self.firings, release=None),
            keep_limits=self.operators.queues.keep_limits,
        )
        self.progress = Progress(database)

    def start(self, firing_key: str | None = None, **parameters: Any) -> RunAnswer:
        return self.starter.start(self.job, parameters, firing_key)

    def deliver(self, push: Push, payload: Any, *, retry_count: int = 0) -> None:
        delivery = Delivery(push.queue, push.name, retry_count=retry_count)
        path = push.url.removeprefix("http://service")
        (handler,) = (operation for operation in self.contract.operations if operation.path == path)
        self.executor.deliver(handler, payload, delivery, {})

    def show(self, run_id: str) -> dict[str, Any]:
        shown = self.progress.show(run_id)
        assert shown is not None
        return shown


def handler(
    name: str, work: Callable[[Batch], Any], *, payload: str = "Ids", queue: str = "work", **task_options: Any
) -> Operation:
    """One more handler, `handlers.<name>`, for `Instance(others=...)`."""
    task = TaskOptions(queue=queue, time_limit=10.0, **task_options)
    return Operation(
        f"/v1/cloudTask/{name}",
        "post",
        f"handlers.{name}",
        Kind.HANDLER,
        work,
        Guard.TASK_QUEUE,
        None,
        task,
        1,
        payload=("schemas", payload),
    )


def read_url(operation: Operation, url: str) -> dict[str, Any]:
    """The parameters of a url, all of them text."""
    return dict(parse_qsl(urlsplit(url).query))


def drain(queue: QueueInMemory, *instances: Instance) -> None:
    """Deliver what is on the queue, in turns to the instances, until nothing is; each task is deleted when done."""
    turn = 0
    while queue.tasks:
        name, push = next(iter(queue.tasks.items()))
        instances[turn % len(instances)].deliver(push, orjson.loads(push.body))
        del queue.tasks[name]
        turn += 1


def written(database: Database) -> list[int]:
    """The numbers that handlers wrote, in order."""
    with database.read() as connection:
        return list(connection.execute(text("SELECT number FROM written ORDER BY number")).scalars())
