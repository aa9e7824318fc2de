"""Progress: health that a service has while its work goes on."""

import orjson
import pytest

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.database.backlog_rows import Movement
from headrace.errors import DriverError
from headrace.observability.progress import DatabaseProgress, stall_of
from tests.contract.application import Files, Running, run_application
from tests.instance import Instance, Numbers, drain
from tests.queue_in_memory import QueueInMemory


@pytest.fixture
def stall(database: Database, clock: ManualClock) -> DatabaseProgress:
    return DatabaseProgress(database, clock, stalled_after=60.0)


def test_nothing_to_do_is_no_stall(stall: DatabaseProgress) -> None:
    assert stall() is None


def test_a_consumer_that_stopped_is_seen_though_the_database_is_up(
    instance: Instance, clock: ManualClock, application: Numbers, stall: DatabaseProgress
) -> None:
    application.count = 6
    instance.start()
    clock.advance(59)
    assert stall() is None
    clock.advance(2)

    assert stall() == "Work that is due has waited for 61 s, and no attempt began or ended in the last 61 s."


def test_a_consumer_that_stops_in_the_middle_of_a_run_is_seen(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers, stall: DatabaseProgress
) -> None:
    application.count = 9
    instance.start()
    for push in list(queue.tasks.values())[:2]:
        clock.advance(50)
        instance.deliver(push, orjson.loads(push.body))
        assert stall() is None
    clock.advance(59)
    assert stall() is None
    clock.advance(2)

    assert stall() is not None


def test_work_that_goes_on_is_no_stall_however_long_the_last_of_it_waits(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers, stall: DatabaseProgress
) -> None:
    application.count = 30
    instance.start()
    for push in list(queue.tasks.values()):
        clock.advance(45)
        instance.deliver(push, orjson.loads(push.body))
        assert stall() is None


def test_an_attempt_that_began_a_moment_ago_is_movement(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers, stall: DatabaseProgress
) -> None:
    seen = []
    application.count, application.on_work = 6, lambda batch: seen.append(stall())
    instance.start()
    clock.advance(300)
    assert stall() is not None
    drain(queue, instance)

    assert seen == [None, None]


def test_a_task_for_later_does_not_wait(
    instance: Instance, clock: ManualClock, application: Numbers, stall: DatabaseProgress
) -> None:
    with instance.database.write() as connection:
        instance.pusher.push(connection, application.work, [1], at=clock.now() + 600)
    clock.advance(300)
    assert stall() is None
    clock.advance(361)

    assert stall() is not None


def test_a_queue_that_cannot_be_reached_stalls_what_was_not_pushed(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers, stall: DatabaseProgress
) -> None:
    application.count, queue.down = 3, True
    instance.start()
    clock.advance(61)

    assert stall() is not None


def test_a_batch_that_waits_for_its_next_try_is_no_stall(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers, stall: DatabaseProgress
) -> None:
    def fail(_batch: object) -> None:
        raise RuntimeError("not yet")

    application.count, application.on_work = 3, fail
    instance.start()
    (push,) = queue.tasks.values()
    with pytest.raises(RuntimeError):
        instance.deliver(push, orjson.loads(push.body))
    clock.advance(600)

    assert stall() is None


def test_a_run_whose_splitter_is_gone_is_a_stall(
    instance: Instance, clock: ManualClock, application: Numbers, stall: DatabaseProgress
) -> None:
    def die(_item: int) -> None:
        raise DriverError("gone")

    application.count, application.on_item = 3, die
    with pytest.raises(DriverError):
        instance.start()
    clock.advance(61)

    assert stall() is not None


@pytest.mark.parametrize(
    ("waits_since", "moved_at", "is_stalled"),
    [(None, None, False), (None, 0, False), (39_999, 0, True), (40_000, 0, False), (0, 40_000, False), (0, None, True)],
)
def test_a_stall_is_due_work_without_movement(waits_since: int | None, moved_at: int | None, is_stalled: bool) -> None:
    stall = stall_of(Movement(waits_since, moved_at), now=100_000, stalled_after=60.0)
    assert (stall is not None) is is_stalled


def test_the_endpoint_answers_503_with_the_reason(running: Running) -> None:
    assert running.client.get("/healthz/progress").json == {"status": "moving", "reason": None}
    running.rooms.stalled = "Work waits."

    response = running.client.get("/healthz/progress")

    assert (response.status_code, response.json) == (503, {"status": "not moving", "reason": "Work waits."})


def test_a_service_that_is_not_ready_does_not_get_on(running: Running) -> None:
    running.rooms.problem_found = "The database does not answer."

    assert running.client.get("/healthz/progress").json["reason"] == "The database does not answer."


@pytest.mark.parametrize(
    ("environment", "token", "peer", "status"),
    [
        ("production", None, "127.0.0.1", 401),
        ("production", "the-metrics-token", "10.0.0.1", 200),
        ("production", "the-admin-token", "10.0.0.1", 200),
        ("production", "another", "10.0.0.1", 401),
        ("development", None, "127.0.0.1", 200),
        ("development", None, "10.0.0.1", 401),
        ("development", "another", "127.0.0.1", 401),
    ],
)
def test_metrics_are_for_those_with_a_token_and_for_loopback_in_development(
    files: Files, environment: str, token: str | None, peer: str, status: int
) -> None:
    running = run_application(
        files,
        HEADRACE_ENV=environment,
        HEADRACE_METRICS_TOKEN="the-metrics-token",
        HEADRACE_TASK_SERVICE_ACCOUNT="tasks@example.com",
        HEADRACE_SCHEDULER_SERVICE_ACCOUNT="scheduler@example.com",
        HEADRACE_SERVICE_URL="https://service.test",
    )
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    response = running.client.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": peer})

    assert response.status_code == status
    if status == 200:
        assert response.content_type.startswith("text/plain; version=0.0.4")
