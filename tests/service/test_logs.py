"""Log lines: one a request, as JSON in production, with ids and without secrets."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from headrace.observability.logs import configure_logs
from tests.contract.application import NOW, Files, Running, run_application
from tests.contract.issuer import ISSUER, Issuer

TASKS = "tasks@headrace-dev.iam.gserviceaccount.com"
PRODUCTION = {
    "HEADRACE_ENV": "production",
    "HEADRACE_TASK_SERVICE_ACCOUNT": TASKS,
    "HEADRACE_SCHEDULER_SERVICE_ACCOUNT": "scheduler@headrace-dev.iam.gserviceaccount.com",
    "HEADRACE_SERVICE_URL": "https://service.test",
    "HEADRACE_TOKEN_ISSUER": ISSUER,
}


@pytest.fixture(autouse=True)
def _restore_logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def production(files: Files, issuer: Issuer) -> Running:
    return run_application(files, issuer.fetch, **PRODUCTION)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def headers_of(issuer: Issuer) -> dict[str, str]:
    token = issuer.token(account=TASKS, audience="https://service.test", now=NOW)
    return {
        "Authorization": f"Bearer {token}",
        "X-CloudTasks-QueueName": "usersQueue",
        "X-CloudTasks-TaskName": "task-1",
    }


def test_a_request_has_one_line_with_operation_status_duration_and_ids(
    production: Running, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    production.client.post("/v1/cloudTask/synchronizeUsers", json=[1], headers=headers_of(issuer))

    (line,) = lines(capsys)
    assert line["message"] == "request"
    assert line["severity"] == "INFO"
    assert line["operation"] == f"{production.files.module}.synchronize_users"
    assert line["status"] == 204
    assert line["duration_ms"] >= 0
    labels = line["logging.googleapis.com/labels"]
    assert (labels["queue"], labels["task"]) == ("usersQueue", "task-1")
    assert line["logging.googleapis.com/trace"].startswith("projects/headrace-dev/traces/")
    assert line["time"]


def test_ids_of_one_request_are_not_in_the_lines_of_the_next(
    production: Running, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    production.client.post("/v1/cloudTask/synchronizeUsers", json=[1], headers=headers_of(issuer))
    capsys.readouterr()

    production.client.get("/healthz")

    (line,) = lines(capsys)
    assert "logging.googleapis.com/labels" not in line


def test_bodies_and_tokens_are_in_no_line(
    production: Running, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = headers_of(issuer)
    production.rooms.error = RuntimeError("broken")
    client = production.client

    client.post("/v1/cloudTask/synchronizeUsers", json=[424242], headers=headers)
    client.post("/v1/cloudTask/synchronizeUsers", json=["swordfish"], headers=headers)
    client.post(
        "/v1/cloudTask/synchronizeUsers", json=[1], headers={**headers, "Authorization": "Bearer x.swordfish.y"}
    )

    output = capsys.readouterr().out
    assert "request failed" in output
    for secret in ("424242", "swordfish", headers["Authorization"].split()[1]):
        assert secret not in output


def test_a_failure_is_one_json_line_with_its_stack_and_the_id_of_the_answer(
    production: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    response = production.client.get("/api/v1/things/500")

    failure, request = lines(capsys)
    assert failure["errorUniqueId"] == response.json["errorUniqueId"]
    assert failure["severity"] == "ERROR"
    assert "ValueError" in failure["exception"]
    assert request["status"] == 500


def test_lines_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers = []
    configure_logs(development=False)

    logging.getLogger("some.library").warning("disk %s is full", "sda")

    (line,) = lines(capsys)
    assert (line["message"], line["severity"]) == ("disk sda is full", "WARNING")


def test_warnings_of_the_contract_are_logged_at_start(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.edit("cron.yaml", "/v1/cron/countUsers", "/v1/cron/countUser")

    run_application(files)

    assert "/v1/cron/countUser is no GET operation" in capsys.readouterr().out
