"""Several drivers as one."""

import pytest

from headrace.drivers.base import Push, PushOutcome
from headrace.drivers.routing import Drivers
from headrace.errors import DriverError
from tests.queue_in_memory import QueueInMemory


def push(name: str, driver: str = "", queue: str = "work") -> Push:
    return Push(queue, name, "http://service/x", b"[]", 30.0, driver=driver)


@pytest.fixture
def first() -> QueueInMemory:
    return QueueInMemory(name="first", max_body=100, max_delay=60.0)


@pytest.fixture
def second() -> QueueInMemory:
    return QueueInMemory(name="second", max_body=200, max_delay=0.0, queues={"work"})


@pytest.fixture
def drivers(first: QueueInMemory, second: QueueInMemory) -> Drivers:
    carried = {"work": frozenset({"first", "second"}), "other": frozenset({"first"})}
    return Drivers({"first": first, "second": second}, "first", carried)


def test_each_push_goes_by_the_driver_that_it_names_and_results_keep_their_order(
    drivers: Drivers, first: QueueInMemory, second: QueueInMemory
) -> None:
    second.down = True
    pushes = [push("a"), push("b", "second"), push("c", "first"), push("d", "second")]
    outcomes = [result.outcome for result in drivers.push_many(pushes)]
    pushed, unavailable = PushOutcome.PUSHED, PushOutcome.UNAVAILABLE
    assert outcomes == [pushed, unavailable, pushed, unavailable]
    assert (list(first.tasks), list(second.tasks)) == (["a", "c"], [])


def test_a_task_is_missing_where_no_driver_of_its_queue_has_it(
    drivers: Drivers, first: QueueInMemory, second: QueueInMemory
) -> None:
    drivers.push_many([push("a"), push("b", "second")])
    assert drivers.missing("work", ["a", "b", "c"]) == {"c"}
    assert drivers.missing("other", ["b"]) == {"b"}
    second.down = True
    with pytest.raises(DriverError):
        drivers.missing("work", ["a"])


def test_a_queue_is_there_where_all_its_drivers_have_it(drivers: Drivers, first: QueueInMemory) -> None:
    assert drivers.has_queue("work")
    assert drivers.has_queue("other")
    first.queues.remove("work")
    assert not drivers.has_queue("work")


def test_what_every_driver_takes_is_what_they_take_together(drivers: Drivers) -> None:
    assert (drivers.name, drivers.max_body, drivers.max_delay) == ("first", 100, 0.0)
