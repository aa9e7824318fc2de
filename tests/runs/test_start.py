"""How runs start: one a firing, one at a time where the overlap policy says so."""

import threading

from headrace.clock import ManualClock
from headrace.contract.operations import Overlap
from headrace.database import Database
from tests.instance import Instance, Numbers, drain, written
from tests.queue_in_memory import QueueInMemory


def test_a_second_trigger_while_a_run_is_live_is_skipped_and_recorded_with_the_reason(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 3
    first = instance.start()
    second = instance.start()
    assert (second.state, second.tasks) == ("skipped", 0)
    assert first.run_id in second.reason
    assert instance.show(second.run_id)["state"] == "skipped"
    drain(queue, instance)
    assert instance.start().state == "running", "the job is free again"


def test_overlap_allow_lets_two_runs_live(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, overlap=Overlap.ALLOW)
    application.count = 3
    assert {instance.start().state, instance.start().state} == {"running"}
    assert len(queue.tasks) == 2


def test_the_same_firing_again_answers_with_the_run_that_it_started(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 3
    first = instance.start("count 2026-11-01T00:00:00Z")
    assert instance.start("count 2026-11-01T00:00:00Z") == first
    drain(queue, instance)
    assert instance.start("count 2026-11-01T00:00:00Z").run_id == first.run_id, "also when the run has ended"
    assert instance.start("count 2026-11-02T00:00:00Z").run_id != first.run_id
    assert len(instance.progress.list()) == 2


def test_the_same_firing_again_asks_that_an_unfinished_split_goes_on(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, job_time=-1.0)
    application.count = 3
    first = instance.start("f")
    assert (first.state, instance.asked_to_go_on) == ("splitting", [first.run_id])
    assert instance.start("f").run_id == first.run_id
    assert instance.asked_to_go_on == [first.run_id] * 2


def test_many_starts_at_the_same_moment_make_one_run(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    application.count = 3
    instances = [Instance(database, queue, clock, application) for _ in range(2)]
    barrier = threading.Barrier(8)
    states: list[str] = []

    def start(index: int) -> None:
        barrier.wait()
        states.append(instances[index % 2].start().state)

    threads = [threading.Thread(target=start, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states) == ["running"] + ["skipped"] * 7
    drain(queue, *instances)
    assert written(database) == [1, 2, 3]


def test_many_deliveries_of_one_firing_at_the_same_moment_make_one_run(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    application.count = 3
    instance = Instance(database, queue, clock, application, overlap=Overlap.ALLOW)
    barrier = threading.Barrier(6)
    runs: set[str] = set()

    def start() -> None:
        barrier.wait()
        runs.add(instance.start("the same").run_id)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 1
    assert len(queue.tasks) == 1


def test_the_parameters_of_a_call_reach_the_job_and_its_resumed_split(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, job_time=-1.0)
    seen: list[dict[str, object]] = []
    whole = application.job
    application.count = 3

    def job(job: object, **parameters: object) -> None:
        seen.append(parameters)
        whole(job, **parameters)  # type: ignore[arg-type]

    object.__setattr__(instance.job, "function", job)
    answer = instance.start(backfill=True)
    instance.starter.resume(answer.run_id)
    assert seen == [{"backfill": True}] * 2
