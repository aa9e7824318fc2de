"""Batch sizes may be set over the file, audited; the next split keeps to them."""

from typing import Any

import orjson
import pytest
from sqlalchemy import event

from headrace.database import Database, override_rows
from headrace.errors import BadRequest, NotFound
from headrace.runs.override_copy import REFRESH_EVERY, OverrideCopy
from headrace.runs.overrides import LiveValues, Overrides
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


CAP = "task_inline_max_concurrent"


class Live:
    """Two processes' copies of the settings on one database; `seconds` is the time by which they grow old."""

    def __init__(self, database: Database, instance: Instance, **environment: float) -> None:
        self.seconds = 0.0
        here, there = (OverrideCopy(database, lambda: self.seconds) for _ in range(2))
        self.here, self.there = (LiveValues(copy, environment) for copy in (here, there))
        self.overrides = Overrides(database, instance.contract, instance.clock, environment, here.forget)

    def setting(self, key: str) -> dict[str, Any]:
        (found,) = (each for each in self.overrides.list() if each["key"] == key)
        return found


def test_an_override_is_in_force_in_every_process_within_its_copys_age(database: Database, instance: Instance) -> None:
    live = Live(database, instance)
    assert (live.here[CAP], live.there[CAP]) == (0, 0)
    live.overrides.put(CAP, "10", actor="ada")
    assert (live.here[CAP], live.there[CAP]) == (10, 0), "who set it knows at once"
    live.seconds += REFRESH_EVERY
    assert live.there[CAP] == 10
    live.overrides.put(CAP, None, actor="ada")
    live.seconds += REFRESH_EVERY
    assert (live.here[CAP], live.there[CAP]) == (0, 0)


def test_the_copy_is_read_once_in_its_age_whatever_comes(database: Database, instance: Instance) -> None:
    live = Live(database, instance)
    read: list[str] = []
    listen = event.listens_for(database.engine, "before_cursor_execute")
    listen(lambda _connection, _cursor, statement, *_rest: read.append(statement))
    for _ in range(100):
        assert live.here["alert_waiting"] == 600
    assert len([statement for statement in read if "headrace_overrides" in statement]) == 1


def test_an_override_stands_over_the_environment_and_this_over_the_default(
    database: Database, instance: Instance
) -> None:
    live = Live(database, instance, shed_cpu=80.5)
    shown = live.setting("shed_cpu")
    assert (shown["value"], shown["default"], shown["source"], live.here["shed_cpu"]) == (80.5, 0, "environment", 80.5)
    assert live.setting(CAP)["source"] == "default"
    live.overrides.put("shed_cpu", "62.5", actor="ada")
    shown = live.setting("shed_cpu")
    assert (shown["value"], shown["source"], shown["set_by"], live.here["shed_cpu"]) == (62.5, "override", "ada", 62.5)
    live.overrides.put("shed_cpu", None, actor="ada")
    assert (live.setting("shed_cpu")["source"], live.here["shed_cpu"]) == ("environment", 80.5)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        (CAP, "ten", "whole number from 0 to 10,000"),
        (CAP, "-1", "whole number from 0 to 10,000"),
        (CAP, "1.5", "whole number from 0 to 10,000"),
        (CAP, "10001", "whole number from 0 to 10,000"),
        (CAP, "", "whole number from 0 to 10,000"),
        (CAP, "1e3", "whole number"),
        ("shed_cpu", "101", "number from 0 to 100"),
        ("alert_waiting", "9", "number from 10 to 604,800"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_with_what_is_allowed(
    overrides: Overrides, key: str, value: str, allowed: str
) -> None:
    with pytest.raises(BadRequest, match=allowed):
        overrides.put(key, value, actor="ada")


def test_what_an_earlier_version_allowed_and_this_one_does_not_is_not_in_force(
    database: Database, instance: Instance
) -> None:
    live = Live(database, instance)
    with database.write() as connection:
        override_rows.set_override(connection, CAP, "many", now=1, actor="ada")
    assert (live.here[CAP], live.setting(CAP)["value"], live.setting(CAP)["source"]) == (0, 0, "default")


def test_a_database_that_does_not_answer_leaves_the_settings_as_they_were(
    database: Database, instance: Instance
) -> None:
    live = Live(database, instance)
    live.overrides.put(CAP, "3", actor="ada")
    assert live.here[CAP] == 3
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE headrace_overrides RENAME TO elsewhere")
    live.seconds += REFRESH_EVERY
    assert live.here[CAP] == 3
