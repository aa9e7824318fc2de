"""One instance whose queue is the engine in this process: what is pushed is delivered, what is steered is real."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from headrace.clock import ManualClock
from headrace.config.settings import load_settings
from headrace.contract.operations import QueueOptions
from headrace.database import Database, audit_rows
from headrace.drivers.base import Push
from headrace.drivers.inline import InlineDriver
from headrace.drivers.queues import QueueControls
from headrace.operators.queued_tasks import QueuedTasks
from headrace.operators.queues import Queues
from headrace.retries import RetryLimits
from tests.instance import Instance, Numbers

QUEUES = """
queue:
- {name: work, rate: 500/s, bucket_size: 100, retry_parameters: {task_retry_limit: 2}}
- {name: other, rate: 1/s}
"""
RETRY = RetryLimits(max_attempts=3, max_duration=0, min_backoff=0.1, max_backoff=3600.0, max_doublings=16)
ADA = "ada"


@dataclass
class QueueRig:
    """The instance, its queue, and the time of both."""

    instance: Instance
    inline: InlineDriver
    clock: ManualClock
    database: Database

    @property
    def queues(self) -> Queues:
        return self.instance.operators.queues

    @property
    def tasks(self) -> QueuedTasks:
        return self.instance.operators.queued_tasks

    def advance(self, seconds: float) -> None:
        """Let time pass, and what falls due run to its end."""
        self.inline.settle()
        self.clock.advance(seconds)
        self.inline.settle()

    def row(self, queue: str = "work") -> dict[str, Any]:
        """What the list of queues says of one."""
        (found,) = [each for each in self.queues.list() if each["queue"] == queue]
        return found

    def audited(self) -> list[tuple[str, str, str]]:
        """Who did what to what, in order."""
        with self.database.read() as connection:
            rows = audit_rows.list_audit(connection, limit=100)
        return [(row.actor, row.action, row.object) for row in reversed(rows)]


@contextmanager
def queue_rig(folder: Path, database: Database, application: Numbers, **options: Any) -> Iterator[QueueRig]:
    """`options` are those of `Instance`."""
    (folder / "queue.yaml").write_text(QUEUES)
    clock = ManualClock(1_800_000_000.0)
    settings = load_settings({"HEADRACE_SERVICE_URL": "http://service"}, folder=folder)
    inline = InlineDriver(settings, clock, fires=False)
    declared = [
        QueueOptions("work", RETRY, rate_per_second=500.0, bucket_size=100),
        QueueOptions("other", RetryLimits(-1, 0, 0.1, 3600.0, 16), rate_per_second=1.0),
    ]
    controls = QueueControls({"inline": inline.control}, "inline", {})
    instance = Instance(database, inline, clock, application, queues=declared, controls=controls, **options)
    inline.start(_deliver_to(instance))
    try:
        yield QueueRig(instance, inline, clock, database)
    finally:
        inline.close()


def _deliver_to(instance: Instance) -> Callable[..., Iterable[bytes]]:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        queue, name = environ["HTTP_X_CLOUDTASKS_QUEUENAME"], environ["HTTP_X_CLOUDTASKS_TASKNAME"]
        retry_count = int(environ["HTTP_X_CLOUDTASKS_TASKRETRYCOUNT"])
        push = Push(queue, name, f"http://service{environ['PATH_INFO']}", body, 30.0)
        try:
            instance.deliver(push, orjson.loads(body), retry_count=retry_count)
        except Exception as error:  # noqa: BLE001 - a boundary, as in the service
            start_response("500 Failed", [])
            return [str(error).encode()]
        start_response("204 Done", [])
        return [b""]

    return application
