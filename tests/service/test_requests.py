"""Every request is validated before anything runs, and every error is one kind of answer."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from headrace.errors import (
    Conflict,
    ContractError,
    DriverError,
    Forbidden,
    Gone,
    HeadraceError,
    LostLease,
    NotFound,
)
from headrace.service.factory import create_app
from tests.contract.application import NOW, Files, Rooms, Running, run_application, settings_of
from tests.contract.issuer import ISSUER, Issuer

CRON = {"X-Appengine-Cron": "true"}


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


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        (["a"], "/0", '/0: the value is not of type "integer".'),
        ([1, 2, None], "/2", "/2: "),
        ([2**63], "/0", "/0: the value is greater than the maximum"),
        ({"0": 1}, "", "/: "),
        ("text", "", "/: "),
    ],
)
def test_a_body_that_breaks_its_schema_is_refused_at_its_pointer(
    files: Files, issuer: Issuer, task: dict[str, str], body: object, pointer: str, message: str
) -> None:
    plain = "content: {application/json: {schema: {$ref: '#/components/schemas/UserIds'}}}"
    nullable = (
        "content:\n        application/json:\n"
        "          schema: {oneOf: [{$ref: '#/components/schemas/UserIds'}, {type: 'null'}]}"
    )
    files.edit("openapi.yaml", nullable, plain)
    running = run_application(files, issuer.fetch, HEADRACE_TOKEN_ISSUER=ISSUER)

    response = running.client.post("/v1/cloudTask/synchronizeUsers", json=body, headers=task)

    assert response.status_code == 400
    assert response.json["message"].startswith(message)
    assert response.json["parameters"].get("pointer", "") == pointer
    assert running.rooms.delivered == []


def test_an_event_that_breaks_its_schema_names_the_member(running: Running, task: dict[str, str]) -> None:
    headers = {**task, "X-CloudTasks-QueueName": "eventsQueue"}

    response = running.client.post("/v1/cloudTask/processEvent", json={"eventId": 7, "kind": "SSD"}, headers=headers)

    assert response.status_code == 400
    assert response.json["parameters"] == {"pointer": "/kind"}


def test_values_of_a_refused_body_are_not_in_the_answer(running: Running, task: dict[str, str]) -> None:
    response = running.client.post("/v1/cloudTask/synchronizeUsers", json=["swordfish"], headers=task)

    assert "swordfish" not in response.text


@pytest.mark.parametrize("body", ["[1, 2", "[1] [2]", "NaN", "\xff"])
def test_a_body_that_is_no_json_is_refused(running: Running, task: dict[str, str], body: str) -> None:
    response = running.client.post(
        "/v1/cloudTask/synchronizeUsers",
        data=body.encode("latin-1"),
        content_type="application/json",
        headers=task,
    )

    assert response.status_code == 400
    assert response.json["message"] == "The body is not valid JSON."


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_content_type_is_refused(
    running: Running, task: dict[str, str], content_type: str | None
) -> None:
    response = running.client.post(
        "/v1/cloudTask/synchronizeUsers", data="[1]", content_type=content_type, headers=task
    )

    assert response.status_code == 415
    assert response.json["errorCode"] == "WRONG_CONTENT_TYPE"
    assert running.rooms.delivered == []


def test_a_content_type_with_a_charset_is_taken(running: Running, task: dict[str, str]) -> None:
    response = running.client.post(
        "/v1/cloudTask/synchronizeUsers",
        data="[1]",
        content_type="application/json; charset=utf-8",
        headers=task,
    )

    assert response.status_code == 204


def test_a_missing_body_is_refused(running: Running, task: dict[str, str]) -> None:
    response = running.client.post("/v1/cloudTask/synchronizeUsers", content_type="application/json", headers=task)

    assert response.status_code == 400
    assert response.json["message"] == "The request has no body."


class _Unreadable:
    """A body that must not be read."""

    def read(self, size: int = -1) -> bytes:
        raise AssertionError("the body was read")


def test_a_body_over_the_limit_is_refused_before_it_is_read(running: Running, task: dict[str, str]) -> None:
    response = running.client.post(
        "/v1/cloudTask/synchronizeUsers",
        content_type="application/json",
        headers=task,
        environ_overrides={"CONTENT_LENGTH": str(2 * 1024 * 1024), "wsgi.input": _Unreadable()},
    )

    assert response.status_code == 413
    assert response.json["errorCode"] == "TOO_LARGE"
    assert running.rooms.delivered == []


def test_a_body_at_the_limit_is_taken(files: Files, issuer: Issuer, task: dict[str, str]) -> None:
    running = run_application(files, issuer.fetch, HEADRACE_TOKEN_ISSUER=ISSUER, HEADRACE_BODY_LIMIT="10")

    def status_of(body: str) -> int:
        return running.client.post(
            "/v1/cloudTask/synchronizeUsers", data=body, content_type="application/json", headers=task
        ).status_code

    assert status_of("[123456789]"[:9] + "]") == 204
    assert status_of("[123456789]") == 413


@pytest.mark.parametrize(
    ("query", "name"),
    [("backfill=perhaps", "backfill"), ("backfill=", "backfill")],
)
def test_a_query_parameter_of_another_type_is_refused(running: Running, query: str, name: str) -> None:
    response = running.client.get(f"/v1/cron/countUsers?{query}", headers=CRON)

    assert response.status_code == 400
    assert f"The query parameter {name}: " in response.json["message"]
    assert "perhaps" not in response.text
    assert running.rooms.started == []


def test_a_missing_query_parameter_is_refused(files: Files) -> None:
    files.edit("openapi.yaml", "{name: status, in: query, schema", "{name: status, in: query, required: true, schema")

    response = run_application(files).client.get("/api/v1/things/5")

    assert response.status_code == 400
    assert response.json["message"] == "The query parameter status: it is missing."


def test_path_and_query_parameters_reach_the_function_as_their_types(running: Running) -> None:
    assert running.client.get("/api/v1/things/5").json == {"thing_id": 5}
    assert running.client.get("/api/v1/things/five").status_code == 400


def test_a_list_of_runs_is_read_with_its_filters(running: Running) -> None:
    headers = {"Authorization": "Bearer the-admin-token"}

    assert running.client.get("/api/v1/runs?limit=5&state=failed", headers=headers).json == {
        "runs": [{"limit": 5, "job": None, "state": "failed"}]
    }
    assert running.client.get("/api/v1/runs", headers=headers).json["runs"][0]["limit"] == 50
    assert running.client.get("/api/v1/runs?limit=0", headers=headers).status_code == 400


def test_a_run_is_shown_and_an_unknown_one_is_not_found(running: Running) -> None:
    headers = {"Authorization": "Bearer the-admin-token"}

    assert running.client.get("/api/v1/runs/run-1", headers=headers).json == {"run_id": "run-1"}
    assert running.client.get("/api/v1/runs/run-2", headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (NotFound("There is no such user."), 404, "NOT_FOUND", "There is no such user."),
        (Forbidden("Not yours.", hint="Ask."), 403, "PERMISSION_DENIED", "Not yours. Ask."),
        (Gone("Nothing is known of it."), 410, "GONE", "Nothing is known of it."),
        (LostLease("Another attempt owns it."), 409, "LOST_LEASE", "Another attempt owns it."),
        (DriverError("queue at 10.0.0.7 is away"), 503, "QUEUE_UNAVAILABLE", "service unavailable"),
        (HeadraceError("inside"), 500, "INTERNAL", "internal error"),
        (ValueError("inside"), 500, "INTERNAL", "internal error"),
    ],
)
def test_errors_become_error_responses(
    running: Running, error: Exception, status: int, code: str, message: str
) -> None:
    running.rooms.error = error

    response = running.client.get("/v1/cron/countUsers", headers=CRON)

    assert response.status_code == status
    assert set(response.json) == {"message", "statusCode", "errorCode", "errorUniqueId", "parameters"}
    assert (response.json["statusCode"], response.json["errorCode"]) == (status, code)
    assert response.json["message"] == message


def test_a_conflict_says_when_to_come_again(running: Running) -> None:
    running.rooms.error = Conflict("A live lease holds it.", retry_after=12.2)

    response = running.client.get("/v1/cron/countUsers", headers=CRON)

    assert (response.status_code, response.headers["Retry-After"]) == (409, "13")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/healthz", 405)])
def test_flasks_own_errors_are_error_responses_too(running: Running, method: str, path: str, status: int) -> None:
    response = running.client.open(path, method=method)

    assert response.status_code == status
    assert response.json["statusCode"] == status
    assert response.json["errorUniqueId"]


def test_an_unexpected_error_tells_its_id_alone_and_the_log_tells_the_rest(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    response = running.client.get("/api/v1/things/500")

    assert response.status_code == 500
    assert "swordfish" not in response.text
    line = next(line for line in capsys.readouterr().out.splitlines() if "request failed" in line)
    assert response.json["errorUniqueId"] in line


def test_an_undeclared_status_is_an_error_in_strict_mode_and_named_in_the_log(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    response = running.client.get("/api/v1/things/5?status=418")

    assert response.status_code == 500
    assert f"{running.files.module}.show_thing answered 418" in capsys.readouterr().out


def test_an_undeclared_status_goes_out_when_strict_mode_is_off(files: Files) -> None:
    running = run_application(files, HEADRACE_STRICT="off")

    assert running.client.get("/api/v1/things/5?status=418").status_code == 418


def test_a_body_that_breaks_the_declared_response_is_an_error_in_strict_mode(files: Files) -> None:
    files.edit("MODULE.py", "jsonify(thing_id=thing_id)", "jsonify([thing_id])")

    assert run_application(files).client.get("/api/v1/things/5").status_code == 500


def test_a_route_that_is_not_in_the_contract_cannot_be_added(files: Files) -> None:
    rooms = Rooms()
    app = create_app(files.folder, settings_of(files.folder), assemble=rooms.assemble)

    with pytest.raises(ContractError) as raised:
        app.route("/v1/cron/hidden")(lambda: "open")

    assert "The route /v1/cron/hidden is in the code, but not in openapi.yaml" in str(raised.value)


def test_every_route_is_in_the_contract(running: Running) -> None:
    rules = {rule.rule for rule in running.app.url_map.iter_rules()}
    declared = {path.replace("{", "<").replace("}", ">") for path in _paths(running.app)}

    assert rules == declared | {"/healthz", "/readyz", "/healthz/progress", "/metrics"}


def _paths(app: Flask) -> set[str]:
    return {operation.path for operation in app.extensions["headrace"].contract.operations}


def test_answers_are_json(running: Running) -> None:
    response = running.client.get("/nowhere")

    assert response.content_type == "application/json"
    assert json.loads(response.text)["errorCode"] == "NOT_FOUND"


def test_many_threads_may_validate_at_once(running: Running, task: dict[str, str]) -> None:
    def post(number: int) -> int:
        body = [number] if number % 2 else ["a"]
        return (
            running.app.test_client()
            .post("/v1/cloudTask/synchronizeUsers?backfill=true", json=body, headers=task)
            .status_code
        )

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(post, range(64)))

    assert statuses == [204 if number % 2 else 400 for number in range(64)]
