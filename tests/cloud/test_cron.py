"""The jobs of a cron.yaml, fired by a whole queue server on a manual clock."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt

from headrace.clock import ManualClock
from headrace.cloud.oidc import load_key
from headrace.cloud.server import QueueServer
from headrace.cloud.settings import ServerSettings
from tests.cloud.conftest import Target

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
    assert push.headers["user-agent"] == "Google-Cloud-Scheduler"
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
