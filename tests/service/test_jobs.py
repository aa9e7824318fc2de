"""The cron endpoints: start a job, tell what was made, call a sweep."""

from datetime import UTC, datetime

import pytest

from headrace.runs.firings import Call
from tests.contract.application import NOW, Files, Running, run_application

CRON = {"X-Appengine-Cron": "true"}


def test_a_start_answers_204_with_the_run(running: Running) -> None:
    response = running.client.get("/v1/cron/countUsers", headers=CRON)

    assert response.status_code == 204
    assert response.data == b""
    assert response.headers["X-Run-Id"] == "run-1"
    assert response.headers["X-Run-State"] == "running"
    call = Call("/v1/cron/countUsers?")
    assert running.rooms.started == [(f"{running.files.module}.count_users", {"backfill": False}, call)]


def test_a_caller_that_prefers_a_representation_gets_what_was_made(running: Running) -> None:
    response = running.client.get("/v1/cron/countUsers", headers={**CRON, "Prefer": "return=representation"})

    assert response.status_code == 200
    assert response.json == {"run_id": "run-1", "state": "running", "tasks": 2, "items": 70, "reason": ""}
    assert response.headers["X-Run-Id"] == "run-1"


def test_query_parameters_reach_the_job_as_their_types(running: Running) -> None:
    running.client.get("/v1/cron/countUsers?backfill=true", headers=CRON)

    assert running.rooms.started[0][1] == {"backfill": True}


def test_a_firing_is_told_with_its_url_its_time_and_its_scheduler(running: Running) -> None:
    headers = {
        **CRON,
        "X-CloudScheduler-JobName": "count-users",
        "X-CloudScheduler-ScheduleTime": "2026-11-22T23:00:00Z",
    }

    running.client.get("/v1/cron/countUsers?backfill=true", headers=headers)

    at = datetime(2026, 11, 22, 23, tzinfo=UTC).timestamp()
    assert running.rooms.started[0][2] == Call("/v1/cron/countUsers?backfill=true", at, "count-users")


def test_a_time_that_is_none_is_a_bad_request(running: Running) -> None:
    headers = {**CRON, "X-CloudScheduler-ScheduleTime": "tomorrow"}

    response = running.client.get("/v1/cron/countUsers", headers=headers)

    assert response.status_code == 400
    assert "X-CloudScheduler-ScheduleTime" in response.json["message"]
    assert running.rooms.started == []


def test_a_firing_of_which_nothing_is_due_answers_204_without_a_run(running: Running) -> None:
    running.rooms.due = False

    response = running.client.get("/v1/cron/countUsers", headers={**CRON, "Prefer": "return=representation"})

    assert (response.status_code, response.data) == (204, b"")
    assert "X-Run-Id" not in response.headers


def test_every_call_of_app_engines_cron_is_the_firing_of_now(files: Files) -> None:
    running = run_application(
        files,
        GAE_ENV="standard",
        HEADRACE_SERVICE_URL="https://service.example",
        HEADRACE_TASK_SERVICE_ACCOUNT="tasks@service.example",
    )

    response = running.client.get("/v1/cron/countUsers", headers=CRON)

    assert response.status_code == 204
    assert running.rooms.started[0][2] == Call("/v1/cron/countUsers?", NOW)


@pytest.mark.parametrize("sweep", ["relay", "reap", "reconcile", "resume"])
def test_a_sweep_is_called(running: Running, sweep: str) -> None:
    response = running.client.get(f"/v1/cron/headrace/{sweep}", headers=CRON)

    assert response.status_code == 204
    assert running.rooms.swept == [sweep]
