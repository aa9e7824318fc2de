"""A run that was pushed for somebody is an operation that they alone may ask after."""

from typing import Any

import pytest

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.errors import PermanentFailure
from headrace.execution.batch import Batch
from tests.instance import Instance, Numbers, drain, handler
from tests.operators.deaths import deliver_all
from tests.queue_in_memory import QueueInMemory


class Making:
    """A handler whose work a test decides on."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.raises: Exception | None = None
        self.look: Any = lambda: None

    def make(self, batch: Batch) -> dict[str, int]:
        self.seen.append(self.look())
        if self.raises is not None:
            raise self.raises
        return {"workspace": 7}


@pytest.fixture
def making() -> Making:
    return Making()


@pytest.fixture
def instance(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers, making: Making
) -> Instance:
    return Instance(database, queue, clock, application, others=[handler("make", making.make)])


@pytest.fixture
def run_id(instance: Instance, making: Making) -> str:
    with instance.database.write() as connection:
        run_id: str = instance.pusher.push(connection, making.make, [1], owner="ada").run_id
    return run_id


def ask(instance: Instance, run_id: str, owner: str = "ada") -> dict[str, Any] | None:
    return instance.operators.operations.show(run_id, owner)


def test_it_is_queued_then_processing_then_a_success_with_its_result(
    instance: Instance, queue: QueueInMemory, making: Making, run_id: str
) -> None:
    queued = ask(instance, run_id)
    assert queued == {
        "id": run_id,
        "state": "QUEUED",
        "result": None,
        "error": None,
        "created_at": "2027-01-15T08:00:00.000Z",
        "ended_at": None,
    }
    making.look = lambda: ask(instance, run_id)
    drain(queue, instance)
    (during,) = making.seen
    assert during["state"] == "PROCESSING"
    done = ask(instance, run_id)
    assert done is not None
    assert (done["state"], done["result"], done["error"]) == ("SUCCESS", {"workspace": 7}, None)
    assert done["ended_at"] == "2027-01-15T08:00:00.000Z"


def test_it_is_processing_still_while_its_handler_is_tried_again(
    instance: Instance, queue: QueueInMemory, making: Making, run_id: str
) -> None:
    making.raises = ValueError("not now")
    deliver_all(queue, instance)
    shown = ask(instance, run_id)
    assert shown is not None
    assert shown["state"] == "PROCESSING"


def test_it_is_an_error_with_the_reason_when_it_is_dead(
    instance: Instance, queue: QueueInMemory, making: Making, run_id: str
) -> None:
    making.raises = PermanentFailure("there is no such member")
    deliver_all(queue, instance)
    shown = ask(instance, run_id)
    assert shown is not None
    assert (shown["state"], shown["result"]) == ("ERROR", None)
    assert "there is no such member" in shown["error"]


def test_it_is_cancelled_with_the_reason_when_somebody_cancels_it(instance: Instance, run_id: str) -> None:
    instance.operators.cancelling.cancel(run_id, reason="asked twice", actor="grace")
    shown = ask(instance, run_id)
    assert shown is not None
    assert (shown["state"], shown["error"]) == ("CANCELLED", "asked twice")


def test_nobody_else_sees_it(instance: Instance, application: Numbers, run_id: str) -> None:
    application.count = 3
    nobodys = instance.start().run_id
    assert ask(instance, run_id, "grace") is None
    assert ask(instance, "f" * 32) is None
    assert ask(instance, nobodys) is None
