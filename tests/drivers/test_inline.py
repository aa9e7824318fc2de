"""The queue in the service's own process: a whole service without any other, and what ends or refuses it."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import headrace
from headrace.clock import ManualClock
from headrace.cloud.tokens import TokenIssuer, make_key
from headrace.config.settings import load_settings
from headrace.database import Database, migration
from headrace.drivers.base import Push, PushOutcome
from headrace.drivers.inline import ISSUER, InlineDriver
from headrace.engine.model import OidcToken
from headrace.errors import ConfigError, ContractError, DriverError, StartError
from headrace.service.current import service_of
from headrace.service.factory import create_app
from tests.drivers.conformance import Target
from tests.testing.parcels import parcels, write_application

__all__ = ["parcels"]

NOW = 1_800_000_000.0  # 08:00 UTC
CRON = {"X-Appengine-Cron": "true"}
INLINE = {"HEADRACE_DRIVER": "inline"}

Serve = Callable[..., tuple[Flask, InlineDriver]]


@pytest.fixture
def serve(parcels: Any, database_url: str, clock: ManualClock) -> Iterator[Serve]:
    """Starts a service of the parcels' application; all of them are stopped in the end."""
    database = Database(database_url)
    migration.upgrade(database)
    database.close()
    with ExitStack() as stack:

        def serve(variables: Mapping[str, str] = INLINE) -> tuple[Flask, InlineDriver]:
            environment = {"HEADRACE_DATABASE_URL": database_url, **variables}
            app = create_app(parcels.folder, clock=clock, environment=environment)
            driver, database = service_of(app).queue, service_of(app).database
            assert isinstance(driver, InlineDriver)
            assert database is not None
            stack.callback(database.close)
            stack.callback(driver.close)
            driver.start(app)
            return app, driver

        yield serve


def run_job(app: Flask) -> str:
    answer = app.test_client().get("/v1/cron/ship", headers=CRON)
    assert answer.status_code == 204
    return answer.headers["X-Run-Id"]


def state_of(app: Flask, run_id: str) -> Any:
    run = service_of(app).reader.show(run_id)
    assert run is not None
    return run["state"]


def test_a_job_runs_to_its_end_in_one_process(serve: Serve, parcels: Any) -> None:
    app, driver = serve()
    run_id = run_job(app)
    driver.settle()
    assert state_of(app, run_id) == "completed"
    assert sorted(parcels.sent) == [1, 2, 3, 4, 5]
    assert {each.queue for each in parcels.deliveries} == {"shipping"}


def test_a_batch_that_fails_is_retried_by_the_rules_of_its_queue(
    serve: Serve, parcels: Any, clock: ManualClock
) -> None:
    parcels.failures.append(ValueError("no stamp"))
    app, driver = serve()
    run_id = run_job(app)
    driver.settle()
    assert state_of(app, run_id) == "running"
    clock.advance(9)
    driver.settle()
    assert len(parcels.sent) < 5
    clock.advance(1)
    driver.settle()
    assert state_of(app, run_id) == "completed"
    assert max(each.retry_count for each in parcels.deliveries) == 1


def test_schedules_are_fired(serve: Serve, parcels: Any, clock: ManualClock) -> None:
    _, driver = serve()
    driver.settle()
    clock.advance(21 * 3_600)
    driver.settle()
    assert parcels.sent == []
    clock.advance(3_600)
    driver.settle()
    driver.settle()
    assert sorted(parcels.sent) == [1, 2, 3, 4, 5]


def test_what_waits_is_delivered_by_the_next_process(serve: Serve, parcels: Any, clock: ManualClock) -> None:
    parcels.failures.extend(ValueError("no stamp") for _ in range(3))
    app, driver = serve()
    run_id = run_job(app)
    driver.settle()
    driver.close()
    assert parcels.sent == []
    app, driver = serve()
    clock.advance(10)
    driver.settle()
    assert state_of(app, run_id) == "completed"


def test_a_stopped_queue_leaves_pushes_to_the_outbox(serve: Serve, parcels: Any) -> None:
    app, driver = serve()
    driver.close()
    run_id = run_job(app)
    assert state_of(app, run_id) == "running"
    with pytest.raises(DriverError, match="could not be asked"):
        driver.missing("shipping", ["any"])
    assert driver.has_queue("shipping"), "nobody knows, so the outbox waits"
    app, driver = serve()
    app.test_client().get("/v1/cron/headrace/relay", headers=CRON)
    driver.settle()
    assert state_of(app, run_id) == "completed"


def test_one_task_goes_by_another_driver_by_its_contract_alone(serve: Serve, parcels: Any, unused_port: int) -> None:
    write_application(parcels.folder, task=", driver: inline")
    app, driver = serve({"CLOUD_TASKS_EMULATOR_HOST": f"127.0.0.1:{unused_port}"})
    run_id = run_job(app)
    with app.app_context(), service_of(app).database.write() as connection:  # type: ignore[union-attr]
        headrace.push(connection, parcels.announce, {"left": 0})
    driver.settle()
    assert state_of(app, run_id) == "completed"
    assert sorted(parcels.sent) == [1, 2, 3, 4, 5], "the other handler's task waits for its queue server"


def test_schedules_are_fired_only_where_the_service_goes_by_inline(
    serve: Serve, parcels: Any, clock: ManualClock
) -> None:
    write_application(parcels.folder, task=", driver: inline")
    _, driver = serve({})
    driver.settle()
    clock.advance(86_400)
    driver.settle()
    assert parcels.sent == []


def test_a_handler_whose_driver_is_none_is_refused(parcels: Any) -> None:
    write_application(parcels.folder, task=", driver: pigeons")
    with pytest.raises(ContractError, match="driver is not one of cloudtasks, inline"):
        create_app(parcels.folder, environment={})


@pytest.mark.parametrize(("task", "variables"), [("", INLINE), (", driver: inline", {})])
def test_several_processes_of_it_are_refused(parcels: Any, task: str, variables: dict[str, str]) -> None:
    write_application(parcels.folder, task=task)
    with pytest.raises(ConfigError, match="WEB_CONCURRENCY: Must be 1 with the driver inline"):
        create_app(parcels.folder, environment={"WEB_CONCURRENCY": "2", **variables})


def test_a_second_holder_of_the_data_is_refused(parcels: Any, clock: ManualClock) -> None:
    app = create_app(parcels.folder, clock=clock, environment=INLINE)
    first, second = service_of(app).queue, service_of(create_app(parcels.folder, environment=INLINE)).queue
    assert first is not None
    assert second is not None
    first.start(app)
    with pytest.raises(StartError, match="is held by the process with id"):
        second.start(app)
    first.close()
    second.start(app)
    second.close()


def test_tokens_of_another_process_are_refused(serve: Serve, clock: ManualClock) -> None:
    app, _ = serve()
    settings = service_of(app).settings
    forged = TokenIssuer(ISSUER, make_key(), clock).token(
        OidcToken(settings.task_service_account, settings.service_url)
    )
    headers = {"X-CloudTasks-QueueName": "shipping", "X-CloudTasks-TaskName": "forged"}
    answer = app.test_client().post(
        "/v1/cloudTask/send", json=[1], headers=headers | {"Authorization": f"Bearer {forged}"}
    )
    assert answer.status_code == 401
    assert answer.json is not None
    assert f"{ISSUER} has no key of its key id" in answer.json["message"]


def test_a_driver_that_nobody_knows_is_no_setting(parcels: Any) -> None:
    with pytest.raises(ConfigError, match="HEADRACE_DRIVER: Must be one of: cloudtasks, inline"):
        create_app(parcels.folder, environment={"HEADRACE_DRIVER": "pigeons"})


def test_a_store_that_fails_ends_the_process(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "queue.yaml").write_text("queue: [{name: work, rate: 5/s}]")
    ended = threading.Event()
    settings = load_settings({}, folder=tmp_path)
    driver = InlineDriver(settings, clock, fires=True, when_failed=ended.set)
    driver.start(Target())
    driver._ask(lambda engine: engine._store.close())
    assert ended.wait(30)
    driver.close()
    push = Push("work", "late", "http://127.0.0.1:8080/v1/cloudTask/x", b"[]", 30.0)
    assert driver.push_many([push])[0].outcome is PushOutcome.UNAVAILABLE


def test_a_service_with_another_driver_loads_no_engine(parcels: Any) -> None:
    code = f"""
import sys
from headrace.service.factory import create_app
create_app({str(parcels.folder)!r}, environment={{}})
print([name for name in sys.modules if name.startswith(("headrace.engine", "headrace.cloud", "google", "grpc"))])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]"
