"""The schedules' endpoints: what is answered, what is refused, and that a scheduler's and a person's calls differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from headrace.testing.service import ADMIN_TOKEN, ServiceUnderTest

URL = "/v1/cron/count?source=corporate"
SCHEDULES = "/api/v1/schedules"
# 2027-01-15 08:00:00 UTC.
EIGHT = 1_800_000_000.0
OPENAPI = """
openapi: 3.1.0
info: {title: Schedules, version: '1'}
x-headrace: [sweeps, continuation, admin]
paths:
  /v1/cron/count:
    get:
      operationId: scheduled_jobs.count
      security: [{cronCaller: []}]
      x-job: {overlap: queue, overlap-key: [source]}
      parameters: [{name: source, in: query, schema: {enum: [corporate, partners], default: partners}}]
      responses: {'204': {description: Started.}}
"""
CRON = """
cron:
- {url: '/v1/cron/count?source=corporate', schedule: every 1 hours}
- {url: /v1/cron/headrace/sweep, schedule: every 1 minutes}
"""


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Iterator[ServiceUnderTest]:
    folder, data = tmp_path / "application", tmp_path / "data"
    folder.mkdir()
    data.mkdir()
    (folder / "openapi.yaml").write_text(OPENAPI)
    (folder / "cron.yaml").write_text(CRON)
    (folder / "queue.yaml").write_text("queue: [{name: headraceQueue, rate: 5/s}]\n")
    (folder / "scheduled_jobs.py").write_text("def count(job, source): ...\n")
    service = ServiceUnderTest(folder, data, now=EIGHT, database_url=database_url)
    yield service
    service.close()


def ask(service: ServiceUnderTest, method: str, path: str, body: Any = None) -> TestResponse:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    return service.client.open(path, method=method, json=body, headers=headers)


def shown(service: ServiceUnderTest) -> dict[str, Any]:
    (schedule,) = ask(service, "GET", SCHEDULES).json["schedules"]
    return dict(schedule)


def runs(service: ServiceUnderTest) -> list[dict[str, Any]]:
    return list(ask(service, "GET", "/api/v1/runs").json["runs"])


def test_the_schedules_of_jobs_are_listed_with_all_that_is_known(service: ServiceUnderTest) -> None:
    assert shown(service) == {
        "url": URL,
        "job": "scheduled_jobs.count",
        "schedule": "every 1 hours",
        "timezone": "UTC",
        "missed": "one",
        "file": {"schedule": "every 1 hours", "timezone": "UTC", "missed": "one"},
        "edited": False,
        "state": "active",
        "next": [f"2027-01-15T{hour:02}:00:00Z" for hour in range(9, 14)],
        "last_at": None,
        "last_run": None,
    }


def test_an_edit_answers_with_the_next_times_found_anew_and_null_clears_it(service: ServiceUnderTest) -> None:
    answer = ask(service, "PATCH", SCHEDULES, {"url": URL, "schedule": "30 9 * * *", "timezone": "America/Chicago"})
    assert (answer.status_code, answer.json["next"][0]) == (200, "2027-01-15T15:30:00Z")
    assert answer.json["edited"] is True
    answer = ask(service, "PATCH", SCHEDULES, {"url": URL, "schedule": None, "timezone": None})
    assert (answer.json["next"][0], answer.json["edited"]) == ("2027-01-15T09:00:00Z", False)


@pytest.mark.parametrize(
    "change", [{"schedule": "every blue moon"}, {"timezone": "Mars/Olympus"}, {"missed": "some"}, {"colour": "red"}, {}]
)
def test_a_bad_edit_is_a_400_and_changes_nothing(service: ServiceUnderTest, change: dict[str, str]) -> None:
    before = shown(service)
    assert ask(service, "PATCH", SCHEDULES, {"url": URL, **change}).status_code == 400
    assert shown(service) == before


def test_pause_and_resume_answer_with_the_state_and_refuse_what_does_not_fit_it(service: ServiceUnderTest) -> None:
    assert ask(service, "POST", f"{SCHEDULES}:resume", {"url": URL}).status_code == 409
    assert ask(service, "POST", f"{SCHEDULES}:pause", {"url": URL}).json["state"] == "paused"
    assert ask(service, "POST", f"{SCHEDULES}:pause", {"url": URL}).status_code == 409
    assert ask(service, "POST", f"{SCHEDULES}:resume", {"url": URL}).json["state"] == "active"


def test_a_send_starts_a_run_with_the_urls_parameters_also_while_paused(service: ServiceUnderTest) -> None:
    ask(service, "POST", f"{SCHEDULES}:pause", {"url": URL})
    before = shown(service)
    answer = ask(service, "POST", f"{SCHEDULES}:send", {"url": URL})
    assert (answer.status_code, answer.data) == (204, b"")
    run = ask(service, "GET", f"/api/v1/runs/{answer.headers['X-Run-Id']}").json
    assert shown(service) == {**before, "last_run": {"run_id": run["run_id"], "state": run["state"]}}
    assert (run["job"], run["parameters"]) == ("scheduled_jobs.count", '{"source": "corporate"}')
    service.queue.drain()
    assert runs(service)[0]["state"] == "completed"


@pytest.mark.parametrize("verb", ["pause", "resume", "send"])
def test_what_is_unknown_is_a_404_and_what_is_the_products_own_a_403(service: ServiceUnderTest, verb: str) -> None:
    for url, status in (("/v1/cron/nothing", 404), ("/v1/cron/headrace/sweep", 403)):
        answer = ask(service, "POST", f"{SCHEDULES}:{verb}", {"url": url})
        assert answer.status_code == status
        assert url in answer.json["message"]
        assert ask(service, "PATCH", SCHEDULES, {"url": url, "missed": "all"}).status_code == status
    assert runs(service) == []


def test_nobody_without_the_token_sees_or_changes_a_schedule(service: ServiceUnderTest) -> None:
    assert service.client.get(SCHEDULES).status_code == 401
    assert service.client.post(f"{SCHEDULES}:pause", json={"url": URL}).status_code == 401
    assert shown(service)["state"] == "active"


def test_what_operators_did_is_in_the_audit_with_who(service: ServiceUnderTest) -> None:
    ask(service, "POST", f"{SCHEDULES}:pause", {"url": URL})
    ask(service, "POST", f"{SCHEDULES}:pause", {"url": URL})
    rows = ask(service, "GET", "/api/v1/audit").json["audit"]
    assert [(row["action"], row["object"]) for row in rows] == [("pause_schedule", f"schedule/{URL}")]
    assert rows[0]["actor"]


def test_the_sweep_fires_what_no_scheduler_called_with_the_parameters_as_the_endpoint_reads_them(
    service: ServiceUnderTest,
) -> None:
    service.start("headrace.service.sweeps.schedules")
    service.clock.advance(3_600 + 91)
    service.start("headrace.service.sweeps.sweep")
    (run,) = runs(service)
    assert shown(service)["last_run"] == {"run_id": run["run_id"], "state": run["state"]}
    assert ask(service, "GET", f"/api/v1/runs/{run['run_id']}").json["parameters"] == '{"source": "corporate"}'


def test_a_persons_call_starts_a_run_and_leaves_the_schedule_as_it_is(service: ServiceUnderTest) -> None:
    before = shown(service)
    assert service.start("scheduled_jobs.count", source="corporate")
    assert shown(service) == before
