"""How things stand, at a glance."""

import pytest

from headrace import Batch
from headrace.clock import ManualClock
from headrace.database import minute_rows
from headrace.database.minute_rows import MinuteRow
from headrace.operators.situation import MINUTE, Situation
from tests.instance import HANDLER, Instance, Numbers
from tests.operators.deaths import deliver_all
from tests.queue_in_memory import QueueInMemory


@pytest.fixture
def situation(instance: Instance, clock: ManualClock) -> Situation:
    return Situation(instance.database, clock, {HANDLER: "numbersQueue"})


def test_a_rate_is_of_the_last_five_whole_minutes(situation: Situation, instance: Instance, clock: ManualClock) -> None:
    this_minute = int(clock.now() * 1000) // MINUTE * MINUTE
    done = {0: 1_000, 1: 10, 5: 20, 6: 1_000}
    with instance.database.write() as connection:
        minute_rows.add_minutes(
            connection, [MinuteRow(this_minute - ago * MINUTE, HANDLER, done=count) for ago, count in done.items()]
        )
    now = situation.now()
    assert (now["totals"]["a_minute"], now["totals"]["done_last_hour"]) == (6.0, 2_030)
    (handler,) = now["handlers"]
    assert handler["a_minute"] == 6.0


def test_the_latest_failures_are_told_with_their_tasks(
    situation: Situation, instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    def fail(_batch: Batch) -> None:
        raise ValueError("no such number")

    application.count, application.on_work = 1, fail
    instance.start()
    assert situation.now()["failures"] == []
    deliver_all(queue, instance)
    (failure,) = situation.now()["failures"]
    assert (failure["handler"], failure["number"], failure["outcome"]) == (HANDLER, 1, "failed")
    assert "no such number" in failure["error"]
