"""Load shedding: under too much load handlers answer 503 and begin nothing, and everything else goes on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from sqlalchemy import func, select
from structlog.testing import capture_logs
from werkzeug.serving import WSGIRequestHandler, make_server

from headrace.clock import Clock, ManualClock
from headrace.contract.tokens import Fetch, fetch_json
from headrace.database import Database
from headrace.database.tables import attempts, batches
from headrace.drivers.base import Driver
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.errors import ConfigError, Overloaded
from headrace.service import create_app
from headrace.service.assembly import assemble
from headrace.service.current import Service, service_of
from headrace.service.shedding import (
    RETRY_AFTER,
    Admission,
    CpuTime,
    Load,
    LoadGate,
    LoadLimits,
    Machine,
    group_memory,
)
from headrace.testing.server import QueueServer, Ran
from tests.contract.application import NOW, Files, settings_of
from tests.contract.issuer import ISSUER, Issuer
from tests.queue_in_memory import QueueInMemory

TASKS = "tasks@headrace-dev.iam.gserviceaccount.com"
LIMITS = LoadLimits(cpu=90, memory=80)
BUSY, IDLE = Load(cpu=95, memory=40), Load(cpu=20, memory=40)


@dataclass
class Probe:
    """A machine whose load a test sets; counts how often it is asked."""

    load: Load = BUSY
    asked: int = 0

    def __call__(self) -> Load:
        self.asked += 1
        return self.load


@dataclass
class Shedding:
    """A service that sheds load by a probe, on a real database."""

    files: Files
    app: Flask
    database: Database
    probe: Probe

    @property
    def service(self) -> Service:
        return service_of(self.app)

    def push(self, *payloads: Any) -> None:
        """Push a task of its own for each payload."""
        handler = self.service.contract.by_id[f"{self.files.module}.synchronize_users"].function
        with self.database.write() as connection:
            for payload in payloads:
                self.service.pusher.push(connection, handler, payload)

    def batches(self) -> list[tuple[str, int]]:
        """State and number of attempts of each batch."""
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(select(batches.c.state, batches.c.attempt))]

    def recorded_attempts(self) -> int:
        with self.database.read() as connection:
            return connection.execute(select(func.count()).select_from(attempts)).scalar_one()


def run_shedding(
    files: Files, database: Database, driver: Driver, clock: Clock, fetch: Fetch = fetch_json, **variables: str
) -> Shedding:
    probe = Probe()

    def assemble_with_probe(*parts: Any) -> Service:
        gate = LoadGate(LIMITS, probe, clock.now)
        return replace(assemble(*parts, database=database, driver=driver), admit_batch=gate.admit)

    settings = settings_of(files.folder, **variables)
    app = create_app(files.folder, settings, clock, assemble=assemble_with_probe, fetch=fetch)
    return Shedding(files, app, database, probe)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def queue() -> QueueInMemory:
    return QueueInMemory(queues={"usersQueue"})


@pytest.fixture
def shedding(files: Files, database: Database, queue: QueueInMemory, clock: ManualClock, issuer: Issuer) -> Shedding:
    return run_shedding(files, database, queue, clock, issuer.fetch, HEADRACE_TOKEN_ISSUER=ISSUER)


def deliver(shedding: Shedding, queue: QueueInMemory, issuer: Issuer) -> Any:
    """What the handler answers to a delivery of the task that is on the queue."""
    ((name, push),) = queue.tasks.items()
    token = issuer.token(account=TASKS, audience="http://127.0.0.1:8080", now=NOW)
    headers = {
        "Authorization": f"Bearer {token}",
        "X-CloudTasks-QueueName": "usersQueue",
        "X-CloudTasks-TaskName": name,
    }
    path = push.url.removeprefix("http://127.0.0.1:8080")
    return shedding.app.test_client().post(path, json=orjson.loads(push.body), headers=headers)


def test_a_handler_under_too_much_load_answers_503_and_counts_no_attempt_and_then_goes_on(
    shedding: Shedding, queue: QueueInMemory, clock: ManualClock, issuer: Issuer
) -> None:
    shedding.push([1, 2])

    refused = deliver(shedding, queue, issuer)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert refused.json["errorCode"] == "OVERLOADED"
    assert refused.json["message"] == "No batch begins under this load: CPU at 95 %, limit 90 %."
    assert (shedding.batches(), shedding.recorded_attempts()) == ([("pushed", 0)], 0)

    shedding.probe.load = IDLE
    clock.advance(RETRY_AFTER)

    assert deliver(shedding, queue, issuer).status_code == 204
    assert (shedding.batches(), shedding.recorded_attempts()) == ([("done", 1)], 0)


def test_a_caller_without_a_token_is_told_nothing_of_the_load(shedding: Shedding) -> None:
    answer = shedding.app.test_client().post("/v1/cloudTask/synchronizeUsers", json=[1])

    assert answer.status_code == 403
    assert shedding.probe.asked == 0


def test_cron_endpoints_and_the_admin_api_are_never_shed(shedding: Shedding) -> None:
    client = shedding.app.test_client()
    cron, admin = {"X-Appengine-Cron": "true"}, {"Authorization": "Bearer the-admin-token"}

    assert client.get("/v1/cron/countUsers", headers=cron).status_code == 204
    assert client.get("/api/v1/runs", headers=admin).status_code == 200
    assert shedding.probe.asked == 0


def test_the_probe_is_asked_at_most_once_a_second_and_shedding_is_logged_once_at_each_end() -> None:
    clock, probe = ManualClock(NOW), Probe()
    gate = LoadGate(LIMITS, probe, clock.now)

    with capture_logs() as lines:
        for _ in range(3):
            for _ in range(10):
                with pytest.raises(Overloaded):
                    gate.admit()
            clock.advance(1)
        probe.load = IDLE
        for _ in range(10):
            gate.admit()

    assert probe.asked == 4
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "load shedding begins"),
        ("info", "load shedding ends"),
    ]


@pytest.mark.parametrize("limits", [LoadLimits(), LIMITS])
def test_the_load_that_is_shown_is_at_most_a_second_old_and_its_first_cpu_is_none(limits: LoadLimits) -> None:
    clock, probe = ManualClock(NOW), Probe()
    admission = Admission(lambda: limits, lambda: probe, clock.now, lambda: None)
    shown = []

    for _ in range(3):
        shown += [admission.load().cpu for _ in range(10)]
        clock.advance(1)

    assert (shown, probe.asked) == ([0.0] * 10 + [95.0] * 20, 3)


def test_what_shows_the_load_and_what_lets_batches_in_take_their_samples_together() -> None:
    clock, probe = ManualClock(NOW), Probe()
    rejected: list[None] = []
    admission = Admission(lambda: LIMITS, lambda: probe, clock.now, lambda: rejected.append(None))

    admission.admit()
    assert (admission.load().cpu, admission.excess(), probe.asked) == (0, "", 1)
    clock.advance(1)
    assert (admission.excess(), probe.asked) == ("CPU at 95 %, limit 90 %", 2)
    with pytest.raises(Overloaded):
        admission.admit()
    assert (probe.asked, len(rejected)) == (2, 1)


@pytest.mark.parametrize(
    ("limits", "excess"),
    [
        (LoadLimits(), ""),
        (LoadLimits(cpu=95, memory=95), ""),
        (LoadLimits(cpu=94.5), "CPU at 95 %, limit 94.5 %"),
        (LoadLimits(memory=80), "memory at 95 %, limit 80 %"),
    ],
)
def test_only_load_above_a_limit_is_too_much(limits: LoadLimits, excess: str) -> None:
    assert limits.excess(Load(cpu=95, memory=95)) == excess


def test_settings_turn_shedding_on_and_without_them_there_is_none(files: Files, database: Database) -> None:
    def service(**variables: str) -> Service:
        def assemble_here(*parts: Any) -> Service:
            return assemble(*parts, database=database, driver=QueueInMemory())

        settings = settings_of(files.folder, **variables)
        return service_of(create_app(files.folder, settings, ManualClock(NOW), assemble=assemble_here))

    service().admit_batch()
    service(HEADRACE_SHED_CPU="100", HEADRACE_SHED_MEMORY="100").admit_batch()
    with pytest.raises(Overloaded, match=r"memory at \d+ %, limit 1 %"):
        service(HEADRACE_SHED_MEMORY="1").admit_batch()


@pytest.mark.parametrize("value", ["0", "101", "much"])
def test_a_limit_that_is_no_percentage_is_a_fault(files: Files, value: str) -> None:
    with pytest.raises(ConfigError, match="HEADRACE_SHED_CPU"):
        settings_of(files.folder, HEADRACE_SHED_CPU=value)


# The probe.


def test_cpu_is_what_was_not_idle_between_two_readings() -> None:
    before = CpuTime.of({"user": 10.0, "nice": 0.0, "system": 5.0, "idle": 80.0, "iowait": 5.0, "guest": 4.0})
    after = CpuTime.of({"user": 18.0, "nice": 0.0, "system": 6.0, "idle": 81.0, "iowait": 5.0, "guest": 9.0})

    assert (before, after) == (CpuTime(85, 100), CpuTime(86, 110))
    assert after.busy_since(before) == pytest.approx(90)
    assert before.busy_since(before) == 0


def test_memory_is_that_of_the_container_without_what_can_be_dropped(tmp_path: Path) -> None:
    group = make_group(tmp_path, limit="1000")

    assert group_memory(group) == 60
    assert Machine(cgroups=tmp_path, membership=tmp_path / "membership")().memory == 60


def test_memory_is_that_of_the_machine_where_no_container_limits_it(tmp_path: Path) -> None:
    group = make_group(tmp_path, limit="max")

    assert group_memory(group) is None
    assert 0 < Machine(cgroups=tmp_path, membership=tmp_path / "membership")().memory < 100
    assert 0 < Machine(cgroups=tmp_path / "none", membership=tmp_path / "none")().memory < 100


def make_group(folder: Path, *, limit: str) -> Path:
    """A control group as cgroup v2 shows it, and who is in it."""
    group = folder / "system.slice" / "service"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text("700\n")
    (group / "memory.stat").write_text("anon 500\nactive_file 100\ninactive_file 100\n")
    (folder / "membership").write_text("4:memory:/\n0::/system.slice/service\n")
    return group


# With a queue server.


@contextmanager
def serving(app: Flask, port: int) -> Iterator[None]:
    """The application over HTTP, in threads of this process."""

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_dispatch_slows_under_too_much_load_and_resumes_when_it_is_over(
    files: Files, database: Database, queue_server: QueueServer, unused_port: int
) -> None:
    impatient = {"min_backoff_seconds": 0.1, "max_backoff_seconds": 0.1}
    queue_server.queue("usersQueue", rate="500/s", bucket_size=500, retry_parameters=impatient)
    service_url = f"http://127.0.0.1:{unused_port}"
    driver = CloudTasksDriver(
        project=queue_server.project,
        location=queue_server.location,
        service_account=TASKS,
        audience=service_url,
        emulator_host=queue_server.grpc,
        emulator_token=None,
        monotonic=queue_server.clock.now,
    )
    variables = {"HEADRACE_SERVICE_URL": service_url, "HEADRACE_TOKEN_ISSUER": queue_server.rest}
    shedding = run_shedding(files, database, driver, queue_server.clock, **variables)
    with serving(shedding.app, unused_port):
        shedding.push([1], [2], [3])
        queue_server.wait_until_idle("usersQueue")

        assert queue_server.advance(RETRY_AFTER / 2) == Ran(succeeded=0, failed=0, firings=0)
        assert [task.statuses for task in queue_server.pushed("usersQueue")] == [(503,)] * 3
        assert shedding.batches() == [("pushed", 0)] * 3

        shedding.probe.load = IDLE

        assert queue_server.advance(RETRY_AFTER) == Ran(succeeded=3, failed=0, firings=0)
        assert shedding.batches() == [("done", 1)] * 3
        assert shedding.recorded_attempts() == 0
    driver.close()
