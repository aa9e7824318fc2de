"""The handlers' endpoints: a push becomes a delivery of a batch."""

import pytest

from headrace.errors import Conflict
from headrace.execution.delivery import Delivery
from tests.contract.application import NOW, Files, Running, run_application
from tests.contract.issuer import ISSUER, Issuer

HANDLER = "/v1/cloudTask/synchronizeUsers"


@pytest.fixture
def task(issuer: Issuer) -> dict[str, str]:
    token = issuer.token(
        account="tasks@headrace-dev.iam.gserviceaccount.com", audience="http://127.0.0.1:8080", now=NOW
    )
    return {
        "Authorization": f"Bearer {token}",
        "X-CloudTasks-QueueName": "usersQueue",
        "X-CloudTasks-TaskName": "task-1",
    }


def test_a_batch_that_is_done_answers_204(running: Running, task: dict[str, str]) -> None:
    response = running.client.post(f"{HANDLER}?backfill=true", json=[1, 2], headers=task)

    assert (response.status_code, response.data) == (204, b"")
    ((operation, payload, delivery, parameters),) = running.rooms.delivered
    assert operation == f"{running.files.module}.synchronize_users"
    assert payload == [1, 2]
    assert delivery == Delivery("usersQueue", "task-1")
    assert parameters == {"backfill": True}


def test_what_the_queue_says_of_a_retry_reaches_the_batch(running: Running, task: dict[str, str]) -> None:
    retry = {
        "X-CloudTasks-TaskRetryCount": "3",
        "X-CloudTasks-TaskExecutionCount": "2",
        "X-CloudTasks-TaskETA": "1790000000.250000",
        "X-CloudTasks-TaskPreviousResponse": "503",
        "X-CloudTasks-TaskRetryReason": "",
    }

    running.client.post(HANDLER, json=[1], headers={**task, **retry})

    assert running.rooms.delivered[0][2] == Delivery(
        queue="usersQueue",
        task_name="task-1",
        retry_count=3,
        execution_count=2,
        eta=1_790_000_000.25,
        previous_response=503,
        retry_reason="",
    )


@pytest.mark.parametrize("body", ["[]", "null"])
def test_an_empty_batch_is_done_without_work(running: Running, task: dict[str, str], body: str) -> None:
    response = running.client.post(HANDLER, data=body, content_type="application/json", headers=task)

    assert response.status_code == 204
    assert running.rooms.delivered == []


def test_a_handler_without_a_payload_does_its_work(files: Files, issuer: Issuer, task: dict[str, str]) -> None:
    files.edit("openapi.yaml", "      requestBody: {$ref: '#/components/requestBodies/UserIds'}\n", "")
    running = run_application(files, issuer.fetch, HEADRACE_TOKEN_ISSUER=ISSUER)

    assert running.client.post(HANDLER, headers=task).status_code == 204
    assert running.rooms.delivered[0][1] is None


def test_null_is_refused_where_the_schema_does_not_allow_it(running: Running, task: dict[str, str]) -> None:
    response = running.client.post(
        "/v1/cloudTask/processEvent",
        data="null",
        content_type="application/json",
        headers={**task, "X-CloudTasks-QueueName": "eventsQueue"},
    )

    assert response.status_code == 400


def test_a_batch_that_another_attempt_holds_answers_409_with_a_time(running: Running, task: dict[str, str]) -> None:
    running.rooms.error = Conflict("Another attempt holds the batch.", retry_after=30)

    response = running.client.post(HANDLER, json=[1], headers=task)

    assert (response.status_code, response.headers["Retry-After"]) == (409, "30")


def test_a_handler_that_raised_answers_500_without_its_reason(running: Running, task: dict[str, str]) -> None:
    running.rooms.error = RuntimeError("swordfish")

    response = running.client.post(HANDLER, json=[1], headers=task)

    assert response.status_code == 500
    assert response.json["message"] == "internal error"
    assert "swordfish" not in response.text


def test_a_push_of_a_task_without_a_name_is_refused(running: Running, task: dict[str, str]) -> None:
    del task["X-CloudTasks-TaskName"]

    response = running.client.post(HANDLER, json=[1], headers=task)

    assert response.status_code == 400
    assert "X-CloudTasks-TaskName" in response.json["message"]


@pytest.mark.parametrize("value", ["many", "-1", "1e3", "1.2.3", "³"])
def test_a_count_that_is_no_number_is_refused(running: Running, task: dict[str, str], value: str) -> None:
    headers = {**task, "X-CloudTasks-TaskRetryCount": value.encode().decode("latin-1")}

    response = running.client.post(HANDLER, json=[1], headers=headers)

    assert response.status_code == 400
    assert running.rooms.delivered == []
