"""A batch that died amid something that must not happen twice waits for a person, who sees what is known of it."""

from typing import Any

import pytest

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.database.states import BatchState
from headrace.errors import NotFound, WrongState
from headrace.execution.batch import Batch
from headrace.operators.decisions import Decision
from tests.instance import Instance, Numbers, drain, written
from tests.operators.deaths import audited, batch_of, deliver_all
from tests.queue_in_memory import QueueInMemory

ADA = "ada"


class Vendor:
    """Sends mails, and loses its answer while it is told to."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.loses = True

    def send(self, key: str) -> str:
        self.sent.append(key)
        if self.loses:
            raise ConnectionError("no answer came")
        return "sent"


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def undecided(instance: Instance, application: Numbers, queue: QueueInMemory, vendor: Vendor) -> int:
    """A batch whose mail may have been sent; its id."""

    def mail(batch: Batch) -> None:
        batch.checkpoint({"asked": 1})
        batch.once("mail", vendor.send)

    application.count, application.on_work = 3, mail
    instance.start()
    deliver_all(queue, instance)
    (waiting,) = instance.operators.decisions.list(limit=10)
    vendor.loses = False
    batch_id: int = waiting["batch_id"]
    return batch_id


def decide(instance: Instance, batch_id: int, decision: str) -> None:
    instance.operators.decisions.decide(batch_id, Decision(decision), actor=ADA)


def run_of(instance: Instance) -> dict[str, Any]:
    (run,) = instance.progress.list()
    return instance.show(run["run_id"])


def test_it_waits_with_all_that_is_known_of_it(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, undecided: int, vendor: Vendor
) -> None:
    (waiting,) = instance.operators.decisions.list(limit=10)
    assert (waiting["batch_id"], waiting["state"]) == (undecided, "undecided")
    (effect,) = waiting["effects"]
    assert (effect["key"], effect["state"], effect["in_doubt"]) == ("mail", "begun", True)
    assert "no answer came" in effect["error"]
    shown = instance.operators.batches.show(undecided)
    assert (shown["payload"], shown["saved"], shown["effects"]) == ([1, 2, 3], {"asked": 1}, [effect])
    assert [attempt["number"] for attempt in shown["attempts"]] == [1]
    clock.advance(3_600)
    instance.sweeps.sweep()
    drain(queue, instance)
    assert len(vendor.sent) == 1, "nothing is done blindly"
    assert run_of(instance)["state"] == "running"


def test_resume_says_that_it_happened_and_the_batch_goes_on(
    instance: Instance, queue: QueueInMemory, undecided: int, vendor: Vendor, database: Database
) -> None:
    decide(instance, undecided, "resume")
    assert len(queue.tasks) == 1, "pushed after the commit"
    drain(queue, instance)
    assert len(vendor.sent) == 1
    assert written(database) == [1, 2, 3]
    assert run_of(instance)["state"] == "completed"


def test_redo_says_that_it_did_not_and_it_is_done_again(
    instance: Instance, queue: QueueInMemory, undecided: int, vendor: Vendor, database: Database
) -> None:
    decide(instance, undecided, "redo")
    drain(queue, instance)
    assert len(vendor.sent) == 2
    assert len(set(vendor.sent)) == 1, "with the key of the first"
    assert written(database) == [1, 2, 3]


def test_skip_cancels_the_batch_and_the_run_ends(
    instance: Instance, queue: QueueInMemory, undecided: int, vendor: Vendor, database: Database
) -> None:
    decide(instance, undecided, "skip")
    drain(queue, instance)
    run = run_of(instance)
    assert (run["state"], run["tasks"]["cancelled"], run["items_done"]) == ("completed", 1, 0)
    assert (len(vendor.sent), written(database)) == (1, [])


def test_a_batch_without_effects_in_doubt_is_done_when_a_person_says_so(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, idempotent=False)
    application.count, application.on_work = 3, _vanish
    instance.start()
    deliver_all_with_deaths(queue, instance)
    clock.advance(3_600)
    instance.sweeps.reap()
    (waiting,) = instance.operators.decisions.list(limit=10)
    assert (waiting["state"], waiting["effects"]) == ("undecided", [])
    decide(instance, waiting["batch_id"], "resume")
    run = run_of(instance)
    assert (run["state"], run["items_done"], queue.tasks) == ("completed", 3, {})
    (batch,) = [instance.operators.batches.show(waiting["batch_id"])]
    assert (batch["state"], batch["error"]) == ("done", "")


class _Death(BaseException):
    """The process dies here."""


def _vanish(batch: Batch) -> None:
    raise _Death


def deliver_all_with_deaths(queue: QueueInMemory, instance: Instance) -> None:
    for push in list(queue.tasks.values()):
        with pytest.raises(_Death):
            instance.deliver(push, [1, 2, 3])
    queue.tasks.clear()


def test_what_waits_for_no_decision_is_left_alone(
    instance: Instance, database: Database, queue: QueueInMemory, undecided: int
) -> None:
    decide(instance, undecided, "skip")
    for decision in Decision:
        with pytest.raises(WrongState, match="is cancelled, and waits for no decision"):
            decide(instance, undecided, decision.value)
        with pytest.raises(NotFound):
            decide(instance, 4711, decision.value)
    assert batch_of(database, undecided).state is BatchState.CANCELLED
    assert [row.action for row in audited(database)] == ["decide_skip"]


def test_a_decision_is_audited_with_its_actor_and_what_was_in_doubt(
    instance: Instance, database: Database, undecided: int
) -> None:
    decide(instance, undecided, "resume")
    (row,) = audited(database)
    assert (row.actor, row.action, row.object) == (ADA, "decide_resume", f"batch/{undecided}")
    assert row.old == "in doubt: mail"


def test_a_cancelled_run_asks_for_no_decision(instance: Instance, undecided: int) -> None:
    run = run_of(instance)
    instance.operators.cancelling.cancel(run["run_id"], reason="", actor=ADA)
    assert instance.operators.decisions.list(limit=10) == []
    assert run_of(instance)["state"] == "cancelled"
