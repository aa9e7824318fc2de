"""Batches with one key run one at a time, in the order of pushing; batches of other keys run beside them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from headrace.clock import ManualClock
from headrace.contract.operations import QueueOptions
from headrace.contract.options import OptionFaults, read_task_options
from headrace.database import Database
from headrace.errors import PermanentFailure, PushRefused, Retry
from headrace.execution.batch import Batch
from headrace.runs.job import Job
from tests.instance import UNLIMITED, Instance, Numbers, handler
from tests.queue_in_memory import QueueInMemory


@dataclass
class Institutions:
    """Actions of institutions, in the order in which they were done; `on_action` may fail them."""

    done: list[tuple[str, int]] = field(default_factory=list)
    on_action: Callable[[dict[str, Any]], None] = lambda action: None

    def act(self, batch: Batch) -> None:
        self.on_action(batch.payload)
        self.done.append((batch.payload["institution"], batch.payload["number"]))

    def of(self, institution: str) -> list[int]:
        return [number for name, number in self.done if name == institution]


@pytest.fixture
def institutions() -> Institutions:
    return Institutions()


def service_of(
    institutions: Institutions, database: Database, queue: QueueInMemory, clock: ManualClock, **options: Any
) -> Instance:
    act = handler("act", institutions.act, payload="Action", ordered_by="institution")
    return Instance(database, queue, clock, Numbers(), others=[act], **options)


@pytest.fixture
def instance(institutions: Institutions, database: Database, queue: QueueInMemory, clock: ManualClock) -> Instance:
    return service_of(institutions, database, queue, clock)


def push(instance: Instance, institutions: Institutions, institution: str, *actions: int, **options: Any) -> None:
    with instance.database.write() as connection:
        for number in actions:
            payload = {"institution": institution, "number": number}
            instance.pusher.push(connection, institutions.act, payload, **options)


def waiting(queue: QueueInMemory) -> list[tuple[str, int]]:
    payloads = [orjson.loads(task.body) for task in queue.tasks.values()]
    return [(payload["institution"], payload["number"]) for payload in payloads]


def deliver_all(instance: Instance, queue: QueueInMemory, *, newest_first: bool = False) -> None:
    while queue.tasks:
        name = list(queue.tasks)[-1 if newest_first else 0]
        task = queue.tasks[name]
        instance.deliver(task, orjson.loads(task.body))
        del queue.tasks[name]


def test_actions_of_one_institution_run_in_order_and_those_of_another_beside_them(
    instance: Instance, institutions: Institutions, queue: QueueInMemory
) -> None:
    push(instance, institutions, "uni", 1, 2, 3)
    push(instance, institutions, "lab", 1, 2)
    assert waiting(queue) == [("uni", 1), ("lab", 1)], "one of each is on the queue"
    deliver_all(instance, queue, newest_first=True)
    assert institutions.of("uni") == [1, 2, 3]
    assert institutions.of("lab") == [1, 2]


def test_the_next_action_is_pushed_at_once_when_the_one_before_has_ended(
    instance: Instance, institutions: Institutions, queue: QueueInMemory
) -> None:
    push(instance, institutions, "uni", 1, 2)
    (name, first), *_ = queue.tasks.items()
    instance.deliver(first, orjson.loads(first.body))
    del queue.tasks[name]
    assert waiting(queue) == [("uni", 2)]


@pytest.mark.parametrize("newer_first", [False, True])
def test_an_action_that_is_tried_again_keeps_the_ones_behind_it_waiting(
    instance: Instance, institutions: Institutions, queue: QueueInMemory, clock: ManualClock, newer_first: bool
) -> None:
    def fail_once(action: dict[str, Any]) -> None:
        institutions.on_action = lambda action: None
        raise Retry("later", after=60) if newer_first else ConnectionError("later")

    institutions.on_action = fail_once
    push(instance, institutions, "uni", 1, 2)
    (task,) = queue.tasks.values()
    if newer_first:
        instance.deliver(task, orjson.loads(task.body))
        del queue.tasks[task.name]
    else:
        with pytest.raises(ConnectionError):
            instance.deliver(task, orjson.loads(task.body))
    assert waiting(queue) == [("uni", 1)]
    instance.sweeps.relay()
    assert waiting(queue) == [("uni", 1)]
    deliver_all(instance, queue)
    assert institutions.of("uni") == [1, 2]


def test_an_action_that_is_dead_lets_the_next_one_go_on(
    instance: Instance, institutions: Institutions, queue: QueueInMemory
) -> None:
    def refuse_the_first(action: dict[str, Any]) -> None:
        if action["number"] == 1:
            raise PermanentFailure("no such thing")

    institutions.on_action = refuse_the_first
    push(instance, institutions, "uni", 1, 2)
    deliver_all(instance, queue)
    assert institutions.of("uni") == [2]


def test_an_action_for_later_holds_back_what_was_pushed_behind_it(
    instance: Instance, institutions: Institutions, queue: QueueInMemory, clock: ManualClock
) -> None:
    queue.max_delay = 0
    push(instance, institutions, "uni", 1, at=clock.now() + 60)
    push(instance, institutions, "uni", 2)
    assert waiting(queue) == []
    clock.advance(61)
    assert instance.sweeps.relay() == {"pushed": 1}
    deliver_all(instance, queue)
    assert institutions.of("uni") == [1, 2]


def test_a_split_is_ordered_like_single_pushes(
    institutions: Institutions, database: Database, queue: QueueInMemory, clock: ManualClock
) -> None:
    actions = [{"institution": name, "number": number} for number in (1, 2, 3) for name in ("uni", "lab")]
    done: list[tuple[str, int]] = []

    def act(batch: Batch) -> None:
        done.extend((item["institution"], item["number"]) for item in batch.items)

    class Splitting(Numbers):
        def job(self, job: Job, **parameters: Any) -> None:
            job.split(act, lambda connection, after: iter(actions), key=actions.index)

    acts = handler("act", act, payload="Actions", ordered_by="institution", batch_size=1)
    instance = Instance(database, queue, clock, Splitting(), others=[acts])
    run_id = instance.start().run_id
    assert len(queue.tasks) == 2
    deliver_all(instance, queue, newest_first=True)
    assert [number for name, number in done if name == "uni"] == [1, 2, 3]
    assert [number for name, number in done if name == "lab"] == [1, 2, 3]
    assert instance.show(run_id)["state"] == "completed"


@pytest.mark.parametrize("payload", [{"number": 1}, {"Institution": "uni"}])
def test_a_payload_without_the_property_is_refused_before_anything_is_written(
    instance: Instance, institutions: Institutions, database: Database, payload: dict[str, Any]
) -> None:
    with database.write() as connection, pytest.raises(PushRefused, match="ordered by institution"):
        instance.pusher.push(connection, institutions.act, payload)
    assert instance.progress.list() == []


def test_a_capped_queue_keeps_the_order_and_pushes_others_where_there_is_room(
    institutions: Institutions, database: Database, queue: QueueInMemory, clock: ManualClock
) -> None:
    capped = QueueOptions("work", UNLIMITED, max_pending=2)
    instance = service_of(institutions, database, queue, clock, queues=[capped])
    for name in ("uni", "lab", "museum"):
        push(instance, institutions, name, 1, 2)
    assert waiting(queue) == [("uni", 1), ("lab", 1)]
    task = next(iter(queue.tasks.values()))
    instance.deliver(task, orjson.loads(task.body))
    del queue.tasks[task.name]
    assert waiting(queue) == [("lab", 1), ("uni", 2)], "the oldest that may run"
    deliver_all(instance, queue)
    assert all(institutions.of(name) == [1, 2] for name in ("uni", "lab", "museum"))


def test_pushers_at_one_moment_keep_the_order_in_which_they_committed(
    institutions: Institutions, database: Database, queue: QueueInMemory, clock: ManualClock
) -> None:
    both = [service_of(institutions, database, queue, clock) for _ in range(2)]
    committed: list[int] = []
    note = threading.Lock()

    def push_some(pusher: int) -> None:
        for index in range(8):
            number = pusher * 100 + index
            with database.write() as connection:
                both[pusher].pusher.push(connection, institutions.act, {"institution": "uni", "number": number})
                # Whoever holds the key's lock commits before the next one gets it.
                with note:
                    committed.append(number)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(push_some, range(2)))
    deliver_all(both[0], queue)
    assert institutions.of("uni") == committed


def test_a_batch_of_several_keys_is_refused(database: Database, queue: QueueInMemory, clock: ManualClock) -> None:
    def act(_batch: Batch) -> None: ...

    acts = handler("act", act, payload="Actions", ordered_by="institution")
    instance = Instance(database, queue, clock, Numbers(), others=[acts])
    with database.write() as connection:
        with pytest.raises(PushRefused, match="Push a task for each value"):
            instance.pusher.push(connection, act, [{"institution": "uni"}, {"institution": "lab"}])
        instance.pusher.push(connection, act, [{"institution": "uni"}, {"institution": "uni"}])
    assert len(instance.progress.list()) == 1


def test_the_contract_refuses_an_order_of_batches_of_several_items() -> None:
    with pytest.raises(OptionFaults, match="ordered-by stands beside batch-size: 1"):
        read_task_options({"queue": "work", "batch-size": 5, "ordered-by": "institution"})
