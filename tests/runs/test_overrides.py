"""Batch sizes may be set over the file, audited; the next split keeps to them."""

from typing import Any

import orjson
import pytest

from headrace.database import Database
from headrace.errors import BadRequest, NotFound
from headrace.runs.overrides import Overrides
from tests.instance import HANDLER, Instance, Numbers, drain
from tests.queue_in_memory import QueueInMemory

KEY = f"batch_size.{HANDLER}"


def batch_size(overrides: Overrides) -> dict[str, Any]:
    (found,) = (each for each in overrides.list() if each["key"] == KEY)
    return found


@pytest.fixture
def overrides(instance: Instance) -> Overrides:
    return Overrides(instance.database, instance.contract, instance.clock)


def test_the_next_split_has_batches_of_the_size_that_was_set(
    instance: Instance, overrides: Overrides, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 41
    overrides.put(KEY, "20", actor="ada")
    assert instance.start().tasks == 3
    assert [len(orjson.loads(push.body)) for push in queue.tasks.values()] == [20, 20, 1]
    drain(queue, instance)
    overrides.put(KEY, None, actor="ada")
    assert instance.start().tasks == 14, "the file's batch size of 3 again"


def test_the_value_in_force_and_the_files_are_both_shown(overrides: Overrides) -> None:
    before = batch_size(overrides)
    assert (before["key"], before["value"], before["default"], before["source"]) == (KEY, 3, 3, "openapi.yaml")
    assert overrides.put(KEY, "7", actor="ada") == batch_size(overrides)
    after = batch_size(overrides)
    assert (after["value"], after["default"], after["source"], after["set_by"]) == (7, 3, "override", "ada")


@pytest.mark.parametrize("value", ["ten", "-1", "0", "10001", "2.5", "", "²"])
def test_a_value_that_is_no_batch_size_is_refused(overrides: Overrides, value: str) -> None:
    with pytest.raises(BadRequest, match="whole number from 1 to 10,000"):
        overrides.put(KEY, value, actor="ada")
    assert batch_size(overrides)["source"] == "openapi.yaml"


@pytest.mark.parametrize("key", ["batch_size.none", "nonsense", "batch_size.api.numbers.count"])
def test_a_setting_that_does_not_exist_is_not_found(overrides: Overrides, key: str) -> None:
    with pytest.raises(NotFound):
        overrides.put(key, "5", actor="ada")


def test_every_change_is_audited_with_its_actor(overrides: Overrides, database: Database) -> None:
    overrides.put(KEY, "7", actor="ada")
    overrides.put(KEY, "8", actor="grace")
    overrides.put(KEY, None, actor="ada")
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT actor, action, old, new FROM headrace_audit ORDER BY id").all()
    assert [tuple(row) for row in rows] == [
        ("ada", "set_override", None, "7"),
        ("grace", "set_override", "7", "8"),
        ("ada", "clear_override", "8", None),
    ]
