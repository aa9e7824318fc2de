"""Limits of queues that are known over the Cloud Tasks API alone: it knows no file, and picks its buckets itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.clock import ManualClock
from headrace.contract.operations import QueueOptions
from headrace.database import Database, migration
from headrace.drivers.cloudtasks_queues import CloudTasksControl
from headrace.drivers.queues import QueueControls
from headrace.errors import BadRequest
from headrace.operators.queues import Queues
from headrace.testing.server import QueueServer
from tests.instance import Instance, Numbers
from tests.operators.queue_rig import ADA, QUEUES, RETRY
from tests.queue_in_memory import QueueInMemory


@pytest.fixture
def queues(tmp_path: Path, clock: ManualClock) -> Iterator[Queues]:
    (tmp_path / "queue.yaml").write_text(QUEUES)
    server = QueueServer(tmp_path, ["--queues", str(tmp_path / "queue.yaml")])
    control = CloudTasksControl(project=server.project, location=server.location, emulator_host=server.grpc)
    database = Database(f"sqlite:///{tmp_path / 'application.db'}")
    migration.upgrade(database)
    declared = [QueueOptions("work", RETRY, rate_per_second=500.0, bucket_size=100)]
    controls = QueueControls({"cloudtasks": control}, "cloudtasks", {})
    instance = Instance(database, QueueInMemory(), clock, Numbers(), queues=declared, controls=controls)
    yield instance.operators.queues
    control.close()
    database.close()
    server.close()


def test_limits_are_set_and_given_back_but_the_bucket(queues: Queues) -> None:
    (before,) = queues.list()
    assert (before["state"], before["limits"]["rate_per_second"]) == ("running", 500)
    queues.limit("work", {"rate_per_second": 2.5, "max_attempts": 7, "max_duration": 60}, actor=ADA)
    (row,) = queues.list()
    assert (row["limits"]["rate_per_second"], row["limits"]["max_attempts"]) == (2.5, 7)
    assert (row["declared"]["rate_per_second"], row["declared"]["max_attempts"], row["set_by"]) == (500, 3, ADA)
    assert queues.keep_limits() == 0
    with pytest.raises(BadRequest, match="bucket_size cannot be set here"):
        queues.limit("work", {"bucket_size": 3}, actor=ADA)
    with pytest.raises(BadRequest, match="cannot be given 0"):
        queues.limit("work", {"rate_per_second": 0}, actor=ADA)
    queues.limit("work", None, actor=ADA)
    (row,) = queues.list()
    assert (row["limits"]["rate_per_second"], row["limits"]["max_attempts"], row["declared"]) == (500, 3, None)
    shown = queues.show("work")
    assert (shown["tasks"], shown["deliveries"]) == ([], None)
