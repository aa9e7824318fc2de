"""What people see of one batch: payload, every attempt with its error and trace, items in trouble, effects."""

from contextlib import suppress

import orjson
import pytest

from headrace.clock import ManualClock
from headrace.errors import NotFound
from headrace.execution.batch import Batch
from headrace.execution.items import Item
from tests.instance import HANDLER, Instance, Numbers, drain
from tests.operators.deaths import deliver_all
from tests.queue_in_memory import QueueInMemory


def the_batch(queue: QueueInMemory) -> int:
    (name,) = queue.tasks
    return int(name.split("-")[1])


def test_every_attempt_is_shown_with_time_error_and_trace(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock
) -> None:
    def fail(batch: Batch) -> None:
        clock.advance(1)
        if batch.attempt < 3:
            raise ValueError(f"attempt {batch.attempt} found no river")

    application.count, application.on_work = 3, fail
    instance.start()
    batch_id = the_batch(queue)
    (push,) = queue.tasks.values()
    for _ in range(2):
        with suppress(ValueError):
            instance.deliver(push, [1, 2, 3])
    shown = instance.operators.batches.show(batch_id)
    assert (shown["state"], shown["handler"], shown["payload"]) == ("pushed", HANDLER, [1, 2, 3])
    first, second = shown["attempts"]
    assert (first["number"], first["outcome"]) == (1, "failed")
    assert first["error"] == "ValueError: attempt 1 found no river"
    assert (first["started_at"], first["ended_at"]) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:00:01.000Z")
    assert "in fail" in second["trace"]
    assert "attempt 2 found no river" in second["trace"]
    drain(queue, instance)
    *_, last = instance.operators.batches.show(batch_id)["attempts"]
    assert (last["number"], last["outcome"], last["ended_at"]) == (3, "done", "2027-01-15T08:00:03.000Z")


def test_an_attempt_that_runs_is_shown_without_an_end(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    seen: list[dict[str, object]] = []
    application.on_work = lambda batch: seen.append(instance.operators.batches.show(batch_id))
    application.count = 3
    instance.start()
    batch_id = the_batch(queue)
    drain(queue, instance)
    assert [(attempt["outcome"], attempt["ended_at"]) for attempt in seen[0]["attempts"]] == [(None, None)]  # type: ignore[attr-defined]
    assert seen[0]["state"] == "running"


def test_items_in_trouble_effects_and_what_was_saved_are_shown(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    def work(item: Item) -> None:
        if item.value == 2:
            raise ValueError("two is odd")

    def each(batch: Batch) -> None:
        batch.checkpoint({"page": 7})
        batch.once("mail", lambda key: "sent")
        batch.for_each(work)

    application.count, application.on_work = 3, each
    instance.start()
    batch_id = the_batch(queue)
    deliver_all(queue, instance)
    shown = instance.operators.batches.show(batch_id)
    assert shown["saved"] == {"page": 7}
    (item,) = shown["items_in_trouble"]
    assert (item["position"], item["value"], item["state"]) == (1, 2, "retried")
    assert "two is odd" in item["error"]
    (effect,) = shown["effects"]
    assert (effect["key"], effect["state"], effect["result"], effect["in_doubt"]) == ("mail", "done", "sent", False)


def test_a_batch_that_is_not_there_is_not_found(instance: Instance) -> None:
    with pytest.raises(NotFound, match="There is no batch 4711"):
        instance.operators.batches.show(4711)


def test_the_result_of_a_handler_is_shown(instance: Instance, queue: QueueInMemory) -> None:
    with instance.database.write() as connection:
        instance.pusher.push(connection, instance.handler.function, [1])
    batch_id = the_batch(queue)
    (push,) = queue.tasks.values()
    instance.deliver(push, orjson.loads(push.body))
    assert instance.operators.batches.show(batch_id)["result"] is None
