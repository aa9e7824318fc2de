"""The cron endpoints: start a job, tell what was made, call a sweep."""

import pytest

from tests.contract.application import Running

CRON = {"X-Appengine-Cron": "true"}


def test_a_start_answers_204_with_the_run(running: Running) -> None:
    response = running.client.get("/v1/cron/countUsers", headers=CRON)

    assert response.status_code == 204
    assert response.data == b""
    assert response.headers["X-Run-Id"] == "run-1"
    assert response.headers["X-Run-State"] == "running"
    assert running.rooms.started == [(f"{running.files.module}.count_users", {"backfill": False}, None)]


def test_a_caller_that_prefers_a_representation_gets_what_was_made(running: Running) -> None:
    response = running.client.get("/v1/cron/countUsers", headers={**CRON, "Prefer": "return=representation"})

    assert response.status_code == 200
    assert response.json == {"run_id": "run-1", "state": "running", "tasks": 2, "items": 70, "reason": ""}
    assert response.headers["X-Run-Id"] == "run-1"


def test_query_parameters_reach_the_job_as_their_types(running: Running) -> None:
    running.client.get("/v1/cron/countUsers?backfill=true", headers=CRON)

    assert running.rooms.started[0][1] == {"backfill": True}


def test_a_firing_is_keyed_by_its_schedule_and_time(running: Running) -> None:
    headers = {
        **CRON,
        "X-CloudScheduler-JobName": "count-users",
        "X-CloudScheduler-ScheduleTime": "2026-11-22T23:00:00Z",
    }

    running.client.get("/v1/cron/countUsers", headers=headers)

    assert running.rooms.started[0][2] == "count-users@2026-11-22T23:00:00Z"


def test_a_firing_without_a_schedules_name_is_keyed_by_the_job(running: Running) -> None:
    headers = {**CRON, "X-CloudScheduler-ScheduleTime": "2026-11-22T23:00:00Z"}

    running.client.get("/v1/cron/countUsers", headers=headers)

    assert running.rooms.started[0][2] == f"{running.files.module}.count_users@2026-11-22T23:00:00Z"


@pytest.mark.parametrize("sweep", ["relay", "reap", "reconcile", "resume"])
def test_a_sweep_is_called(running: Running, sweep: str) -> None:
    response = running.client.get(f"/v1/cron/headrace/{sweep}", headers=CRON)

    assert response.status_code == 204
    assert running.rooms.swept == [sweep]
