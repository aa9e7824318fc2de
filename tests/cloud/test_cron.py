"""The jobs of a cron.yaml: fired by a whole queue server on a manual clock, and shown by the API as any other."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from google.api_core import exceptions
from google.cloud.scheduler_v1 import HttpMethod, Job

from headrace.clock import ManualClock
from headrace.cloud.descriptors import Message
from headrace.cloud.files import make_cron_jobs
from headrace.cloud.server import QueueServer
from headrace.cloud.settings import ServerSettings
from headrace.cloud.tokens import load_key
from headrace.config import load_cron_file
from tests.cloud.conftest import LOCATION, Target
from tests.cloud.scheduling import Scheduling, job_name, scheduling

SCHEDULER = "scheduler@demo.iam.gserviceaccount.com"
CRON_FILE = """
cron:
- url: /v1/cron/synchronizeUserAccess
  schedule: every day 03:00
- url: /v1/cron/exportResearcherData?backfill=true
  schedule: 0 4 * * *
  timezone: America/Chicago
  retry_parameters: {job_retry_limit: 2, min_backoff_seconds: 5}
"""
THREE = datetime(2026, 3, 2, 3, 0, tzinfo=UTC).timestamp()
FOUR_IN_CHICAGO = datetime(2026, 3, 2, 10, 0, tzinfo=UTC).timestamp()


def settings_in(folder: Path, service_url: str) -> ServerSettings:
    cron_file = folder / "cron.yaml"
    cron_file.write_text(CRON_FILE)
    return ServerSettings(
        host="127.0.0.1",
        grpc_port=0,
        rest_port=0,
        data=folder / "data",
        queue_file=None,
        cron_file=cron_file,
        environment=None,
        project="demo",
        location="here",
        service_url=service_url,
        issuer="https://issuer.example",
        scheduler_service_account=SCHEDULER,
    )


@asynccontextmanager
async def running(settings: ServerSettings, clock: ManualClock) -> AsyncIterator[QueueServer]:
    server = QueueServer(settings, clock)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def move(server: QueueServer, clock: ManualClock, when: float) -> None:
    clock.advance(when - clock.now())
    server.clock_moved()


def test_a_job_is_called_at_its_time_with_a_token_of_the_scheduler(tmp_path: Path, target: Target) -> None:
    settings = settings_in(tmp_path, target.url)
    clock = ManualClock(THREE - 60)

    async def scenario() -> None:
        async with running(settings, clock) as server:
            move(server, clock, THREE)
            await asyncio.to_thread(target.wait_for, 1)

    asyncio.run(scenario())
    (push,) = target.pushes
    assert (push.method, push.path) == ("GET", "/v1/cron/synchronizeUserAccess")
    assert push.headers["user-agent"] == "AppEngine-Google; (+http://code.google.com/appengine)"
    assert push.headers["x-appengine-cron"] == "true"
    assert push.headers["x-cloudscheduler"] == "true"
    assert push.headers["x-cloudscheduler-jobname"] == "v1-cron-synchronizeUserAccess"
    assert push.headers["x-cloudscheduler-scheduletime"] == "2026-03-02T03:00:00Z"
    claims = _claims(push.headers["authorization"], settings)
    assert claims["iss"] == "https://issuer.example"
    assert claims["aud"] == target.url
    assert claims["email"] == SCHEDULER
    assert claims["iat"] == THREE


def _claims(authorization: str, settings: ServerSettings) -> dict[str, Any]:
    """The claims of a token whose signature holds; its times are those of the manual clock."""
    assert settings.data is not None
    key = load_key(settings.data / "token-key.pem").public_key()
    options = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
    claims: dict[str, Any] = jwt.decode(authorization.split(" ")[1], key, algorithms=["RS256"], options=options)
    return claims


def test_a_failed_call_is_made_again_after_its_backoff(tmp_path: Path, target: Target) -> None:
    settings = settings_in(tmp_path, target.url)
    clock = ManualClock(FOUR_IN_CHICAGO - 60)
    target.answer = lambda push: 500 if len(target.pushes) == 1 else 204

    async def scenario() -> None:
        async with running(settings, clock) as server:
            move(server, clock, FOUR_IN_CHICAGO)
            await asyncio.to_thread(target.wait_for, 1)
            # The wait for the backoff begins when the answer has arrived; the clock is moved until it ends.
            while len(target.pushes) == 1:
                move(server, clock, clock.now() + 0.05)
                await asyncio.sleep(0)

    asyncio.run(scenario())
    times = {push.headers["x-cloudscheduler-scheduletime"] for push in target.pushes}
    assert times == {"2026-03-02T10:00:00Z"}
    assert target.pushes[0].path == "/v1/cron/exportResearcherData?backfill=true"


def test_a_call_that_the_end_of_the_server_cut_off_is_made_again_at_the_next_start(
    tmp_path: Path, target: Target
) -> None:
    settings = settings_in(tmp_path, target.url)
    clock = ManualClock(THREE - 60)
    released = threading.Event()

    def answer(_push: object) -> int:
        if len(target.pushes) == 1:
            released.wait(10)
        return 204

    target.answer = answer

    async def scenario() -> None:
        async with running(settings, clock) as server:
            move(server, clock, THREE)
            await asyncio.to_thread(target.wait_for, 1)
        clock.advance(600)
        async with running(settings, clock):
            await asyncio.to_thread(target.wait_for, 2)

    try:
        asyncio.run(scenario())
    finally:
        released.set()
    times = [push.headers["x-cloudscheduler-scheduletime"] for push in target.pushes]
    assert times == ["2026-03-02T03:00:00Z", "2026-03-02T03:00:00Z"]


# Through the API.


def declare(folder: Path, text: str) -> tuple[Message, ...]:
    """The jobs of a cron.yaml with this text."""
    (folder / "cron.yaml").write_text(text)
    return tuple(make_cron_jobs(load_cron_file(folder / "cron.yaml"), "demo", "here"))


def load(running: Scheduling, folder: Path, text: str) -> None:
    """Let the running scheduler take up another text."""
    running.do(running.api.jobs.load(declare(folder, text)))


NIGHTLY = "cron: [{url: /nightly, schedule: every day 03:00}]"
NIGHTLY_JOB = job_name("nightly")


def test_jobs_of_the_file_are_app_engine_jobs(tmp_path: Path) -> None:
    declared = declare(
        tmp_path,
        """
cron:
- url: /run/nightly?full=true
  schedule: every day 03:00
  timezone: America/Chicago
  description: the nightly run
  target: web:v2
  retry_parameters: {job_retry_limit: 3, job_age_limit: 1h, min_backoff_seconds: 2.5, max_backoff_seconds: 100}
- {url: /run/nightly, schedule: every day 04:00}
- {url: /, schedule: every day 05:00}
""",
    )
    with scheduling(THREE, declared=declared) as running:
        root, first, second = running.client.list_jobs(parent=LOCATION)
    names = [job.name.rpartition("/")[2] for job in (root, first, second)]
    assert names == ["root", "run-nightly", "run-nightly-2"]
    assert (first.description, first.schedule, first.time_zone) == (
        "the nightly run",
        "every day 03:00",
        "America/Chicago",
    )
    target, retry = first.app_engine_http_target, first.retry_config
    assert (target.http_method, target.relative_uri) == (HttpMethod.GET, "/run/nightly?full=true")
    assert (target.app_engine_routing.service, target.app_engine_routing.version) == ("web", "v2")
    assert (retry.retry_count, retry.max_doublings) == (3, 16)
    assert (retry.max_retry_duration.seconds, retry.min_backoff_duration.total_seconds()) == (3600, 2.5)
    assert second.retry_config.retry_count == 0


def test_a_job_that_the_file_changes_is_changed_and_one_that_it_drops_is_gone(tmp_path: Path) -> None:
    with scheduling(THREE, declared=declare(tmp_path, NIGHTLY)) as running:
        load(
            running, tmp_path, "cron: [{url: /nightly, schedule: every day 05:00}, {url: /new, schedule: '0 4 * * *'}]"
        )
        new, nightly = running.client.list_jobs(parent=LOCATION)
        assert (new.name, nightly.schedule_time.timestamp()) == (job_name("new"), THREE + 2 * 3600)
        load(running, tmp_path, "cron: [{url: /new, schedule: '0 4 * * *'}]")
        assert [job.name for job in running.client.list_jobs(parent=LOCATION)] == [job_name("new")]


def test_a_file_that_says_the_same_changes_nothing(tmp_path: Path) -> None:
    with scheduling(THREE, tmp_path / "data", declare(tmp_path, NIGHTLY)) as running:
        before = running.client.get_job(name=NIGHTLY_JOB)
        running.move_to(THREE + 600)
        load(running, tmp_path, NIGHTLY)
        assert running.client.get_job(name=NIGHTLY_JOB) == before
    with scheduling(THREE + 1200, tmp_path / "data", declare(tmp_path, NIGHTLY)) as running:
        assert running.client.get_job(name=NIGHTLY_JOB) == before


def test_the_file_wins_over_the_api_and_the_state_stays(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with scheduling(THREE, data, declare(tmp_path, NIGHTLY)) as running:
        running.client.pause_job(name=NIGHTLY_JOB)
        edited = running.client.update_job(
            job={"name": NIGHTLY_JOB, "description": "edited"}, update_mask={"paths": ["description"]}
        )
        assert (edited.description, edited.state) == ("edited", Job.State.PAUSED)
        load(running, tmp_path, NIGHTLY)
        job = running.client.get_job(name=NIGHTLY_JOB)
        assert (job.description, job.state) == ("", Job.State.PAUSED)
    with scheduling(THREE, data, declare(tmp_path, NIGHTLY)) as running:
        assert running.client.get_job(name=NIGHTLY_JOB).state == Job.State.PAUSED
    with scheduling(THREE, data) as running:
        assert list(running.client.list_jobs(parent=LOCATION)) == []


def test_a_job_of_the_file_that_is_deleted_comes_back_with_the_file(tmp_path: Path) -> None:
    with scheduling(THREE, declared=declare(tmp_path, NIGHTLY)) as running:
        running.client.delete_job(name=NIGHTLY_JOB)
        with pytest.raises(exceptions.NotFound):
            running.client.get_job(name=NIGHTLY_JOB)
        load(running, tmp_path, NIGHTLY)
        assert running.client.get_job(name=NIGHTLY_JOB).state == Job.State.ENABLED


def test_a_name_in_the_file_takes_the_place_of_a_job_made_by_the_api(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = {"name": NIGHTLY_JOB, "schedule": "0 0 1 1 *", "http_target": {"uri": "http://127.0.0.1:1"}}
    with scheduling(THREE, data) as running:
        running.client.create_job(parent=LOCATION, job=made)
    with scheduling(THREE, data, declare(tmp_path, NIGHTLY)) as running:
        (job,) = running.client.list_jobs(parent=LOCATION)
        assert job.schedule == "every day 03:00"
    with scheduling(THREE, data) as running:
        assert list(running.client.list_jobs(parent=LOCATION)) == []


def test_a_reset_leaves_the_jobs_of_the_file_alone_and_afresh(tmp_path: Path) -> None:
    declared = declare(tmp_path, NIGHTLY)
    with scheduling(THREE, declared=declared) as running:
        made = {"schedule": "0 0 1 1 *", "http_target": {"uri": "http://127.0.0.1:1"}}
        running.client.create_job(parent=LOCATION, job=made)
        running.client.pause_job(name=NIGHTLY_JOB)
        running.do(running.api.jobs.reset(declared))
        (job,) = running.client.list_jobs(parent=LOCATION)
        assert (job.name, job.state) == (NIGHTLY_JOB, Job.State.ENABLED)
