"""Who is let in: the scheduler, the handler's own queue, an administrator; nobody else."""

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from headrace.errors import ContractError
from tests.contract.application import NOW, OPENAPI, Files, Running, run_application
from tests.contract.issuer import ISSUER, Issuer

URL = "http://127.0.0.1:8080"
TASKS = "tasks@headrace-dev.iam.gserviceaccount.com"
SCHEDULER = "scheduler@headrace-dev.iam.gserviceaccount.com"
CRON = "/v1/cron/countUsers"
HANDLER = "/v1/cloudTask/synchronizeUsers"
PRODUCTION = {
    "HEADRACE_ENV": "production",
    "HEADRACE_TASK_SERVICE_ACCOUNT": TASKS,
    "HEADRACE_SCHEDULER_SERVICE_ACCOUNT": SCHEDULER,
    "HEADRACE_SERVICE_URL": URL,
    "HEADRACE_TOKEN_ISSUER": ISSUER,
}

PATHS = [
    line.strip().rstrip(":") for line in OPENAPI.splitlines() if line.startswith(("  /v1/cron/", "  /v1/cloudTask/"))
]


def bearer(issuer: Issuer, account: str, **changes: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {issuer.token(account=account, audience=URL, now=NOW, **changes)}"}


def push(client: FlaskClient, headers: dict[str, str], *, queue: str | None = "usersQueue") -> TestResponse:
    named = {"X-CloudTasks-TaskName": "task-1", **({"X-CloudTasks-QueueName": queue} if queue else {})}
    return client.post(HANDLER, json=[1, 2], headers={**named, **headers})


def test_the_specification_has_paths_under_both_prefixes() -> None:
    assert len(PATHS) == 7


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_an_unguarded_call_of_a_cron_or_task_path_is_refused(running: Running, path: str, method: str) -> None:
    response = running.client.open(path, method=method, json=[1])

    declared = "GET" if path.startswith("/v1/cron/") else "POST"
    assert response.status_code == (403 if method == declared else 405)
    assert (running.rooms.started, running.rooms.delivered, running.rooms.swept) == ([], [], [])


@pytest.mark.parametrize("value", [None, "True", "1", "TRUE", "", "true, true"])
def test_a_cron_header_that_is_not_exactly_true_is_refused_and_named(running: Running, value: str | None) -> None:
    headers = {} if value is None else {"X-Appengine-Cron": value}

    response = running.client.get(CRON, headers=headers)

    assert response.status_code == 403
    assert "X-Appengine-Cron" in response.json["message"]
    assert running.rooms.started == []


def test_the_cron_header_is_enough_on_a_developers_machine(running: Running) -> None:
    assert running.client.get(CRON, headers={"X-AppEngine-Cron": "true"}).status_code == 204


@pytest.mark.parametrize("peer", ["192.0.2.1", "::ffff:192.0.2.1", ""])
def test_the_cron_header_of_another_machine_is_refused(running: Running, peer: str) -> None:
    response = running.client.get(CRON, headers={"X-Appengine-Cron": "true"}, environ_base={"REMOTE_ADDR": peer})

    assert response.status_code == 403


def test_the_cron_header_through_a_tunnel_is_refused(running: Running) -> None:
    headers = {"X-Appengine-Cron": "true", "X-Forwarded-For": "192.0.2.1"}

    assert running.client.get(CRON, headers=headers).status_code == 403


def test_a_trusted_proxy_tells_the_peer(files: Files) -> None:
    running = run_application(files, HEADRACE_TRUSTED_PROXIES="1")
    header = {"X-Appengine-Cron": "true"}

    assert running.client.get(CRON, headers={**header, "X-Forwarded-For": "192.0.2.1"}).status_code == 403
    assert running.client.get(CRON, headers={**header, "X-Forwarded-For": "127.0.0.1"}).status_code == 204


def test_the_cron_header_is_not_enough_in_production(files: Files) -> None:
    running = run_application(files, **PRODUCTION)

    assert running.client.get(CRON, headers={"X-Appengine-Cron": "true"}).status_code == 403


def test_the_cron_header_is_enough_on_app_engine(files: Files) -> None:
    running = run_application(files, **PRODUCTION, GAE_ENV="standard")

    headers = {"X-Appengine-Cron": "true"}
    assert running.client.get(CRON, headers=headers, environ_base={"REMOTE_ADDR": "10.0.0.1"}).status_code == 204
    assert running.client.get(CRON, headers={"X-Appengine-Cron": "True"}).status_code == 403


def test_app_engine_without_a_schedulers_account_takes_no_token(files: Files, issuer: Issuer) -> None:
    variables = {**PRODUCTION, "GAE_ENV": "standard", "HEADRACE_SCHEDULER_SERVICE_ACCOUNT": ""}
    running = run_application(files, issuer.fetch, **variables)

    assert running.client.get(CRON, headers=bearer(issuer, SCHEDULER)).status_code == 401


def test_the_schedulers_token_is_enough_everywhere(files: Files, issuer: Issuer) -> None:
    running = run_application(files, issuer.fetch, **PRODUCTION)

    assert running.client.get(CRON, headers=bearer(issuer, SCHEDULER)).status_code == 204
    assert running.client.get(CRON, headers=bearer(issuer, TASKS)).status_code == 401


def test_a_push_of_the_handlers_queue_with_its_token_is_let_in(running: Running, issuer: Issuer) -> None:
    assert push(running.client, bearer(issuer, TASKS)).status_code == 204
    assert len(running.rooms.delivered) == 1


@pytest.mark.parametrize("queue", [None, "eventsQueue", "usersqueue"])
def test_a_push_of_no_queue_or_another_is_refused(running: Running, issuer: Issuer, queue: str | None) -> None:
    response = push(running.client, bearer(issuer, TASKS), queue=queue)

    assert response.status_code == 403
    assert "X-CloudTasks-QueueName" in response.json["message"]
    assert running.rooms.delivered == []


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://other.test"},
        {"exp": int(NOW) - 60},
        {"email": SCHEDULER},
        {"email_verified": False},
        {"iss": "https://evil.test"},
    ],
)
def test_a_push_with_a_token_that_is_wrong_is_refused(
    running: Running, issuer: Issuer, changes: dict[str, Any]
) -> None:
    response = push(running.client, bearer(issuer, TASKS, **changes))

    assert response.status_code == 401
    assert response.json["errorCode"] == "UNAUTHENTICATED"
    assert "The token was refused" in response.json["message"]
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert running.rooms.delivered == []


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic dXNlcjpwYXNz"}, {"Authorization": "Bearer "}])
def test_a_push_without_a_token_is_refused(running: Running, headers: dict[str, str]) -> None:
    assert push(running.client, headers).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "the-admin-token"}])
def test_the_admin_api_wants_its_token(running: Running, headers: dict[str, str]) -> None:
    assert running.client.get("/api/v1/runs", headers=headers).status_code == 401


def test_the_admin_api_opens_to_its_token(running: Running) -> None:
    headers = {"Authorization": "Bearer the-admin-token"}

    assert running.client.get("/api/v1/runs", headers=headers).status_code == 200


@pytest.mark.parametrize("token", ["", "None", "the-admin-token"])
def test_without_a_configured_token_the_admin_api_refuses_all(files: Files, token: str) -> None:
    running = run_application(files, HEADRACE_ADMIN_TOKEN="")

    response = running.client.get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"})

    assert response.status_code == 401


def test_a_public_operation_lets_everybody_in(running: Running) -> None:
    assert running.client.get("/api/v1/things/5").status_code == 200


def test_a_refused_token_is_not_in_the_answer(running: Running, issuer: Issuer) -> None:
    headers = bearer(issuer, TASKS, exp=int(NOW) - 60)

    assert headers["Authorization"].split()[1] not in push(running.client, headers).text


SIGN_IN = """

def caller_of(token):
    return {"anna's token": "anna"}.get(token)


def show_thing(thing_id, status=200):
    return {"caller": headrace.caller()}
"""
OWN_SCHEME = "    userToken: {type: http, scheme: bearer, x-guard: MODULE.caller_of}\n"


@pytest.fixture
def guarded(files: Files) -> Files:
    """The same application, with a guard of its own before one operation."""
    files.edit("openapi.yaml", "security: []", "security: [{userToken: []}]")
    files.edit("openapi.yaml", "  securitySchemes:\n", f"  securitySchemes:\n{OWN_SCHEME}")
    code = files.folder / f"{files.module}.py"
    code.write_text(f"import headrace\n{code.read_text()}{SIGN_IN}")
    return files


def test_an_applications_own_guard_lets_in_whom_it_knows_and_the_operation_learns_who_it_is(guarded: Files) -> None:
    answer = run_application(guarded).client.get(
        "/api/v1/things/5", headers={"Authorization": "Bearer anna's token", "Remote-User": "eve"}
    )

    assert (answer.status_code, answer.json) == (200, {"caller": "anna"})


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer other"}, {"Authorization": "Basic anna's token"}])
def test_whom_an_applications_own_guard_does_not_know_is_refused(guarded: Files, headers: dict[str, str]) -> None:
    answer = run_application(guarded).client.get("/api/v1/things/5", headers=headers)

    assert (answer.status_code, answer.json["errorCode"]) == (401, "UNAUTHENTICATED")


def test_there_is_no_caller_where_no_guard_names_one(guarded: Files) -> None:
    guarded.edit("openapi.yaml", "security: [{userToken: []}]", "security: []")

    answer = run_application(guarded).client.get("/api/v1/things/5", headers={"Authorization": "Bearer anna's token"})

    assert answer.status_code == 500


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("x-guard: MODULE.caller_of", "x-guard: MODULE.caller_off", "has no caller_off. Did you mean caller_of?"),
        ("x-guard: MODULE.caller_of", "x-guard: MODULE.Disk.SSD", "There is no module"),
        ("x-guard: MODULE.caller_of", "x-guard: 5", "is no Python path"),
        ("x-guard: MODULE.caller_of", "x-guard: MODULE.count_users", "cannot be called as count_users(token)"),
        ("type: http, scheme: bearer, x-", "type: http, scheme: basic, x-", "of type http, scheme bearer"),
        (
            "[{userToken: []}]",
            "[{userToken: []}, {adminToken: []}]",
            "by a bearer scheme with x-guard",
        ),
        ("[{userToken: []}]", "[{userToken: [], adminToken: []}]", "by a bearer scheme with x-guard"),
        ("[{userToken: []}]", "[{adminToken: [everything]}]", "which may name one of read, send_schedule, retry_task"),
        ("[{userToken: []}]", "[{adminToken: [read, purge]}]", "which may name one of read, send_schedule, retry_task"),
        (", x-guard: MODULE.caller_of", "", "by a bearer scheme with x-guard"),
    ],
)
def test_a_guard_that_cannot_be_is_a_fault_of_the_contract(guarded: Files, old: str, new: str, says: str) -> None:
    guarded.edit("openapi.yaml", old, new)

    with pytest.raises(ContractError, match=re.escape(says)):
        run_application(guarded)


def test_an_applications_own_guard_cannot_stand_before_a_handler(guarded: Files) -> None:
    guarded.edit("openapi.yaml", "security: [{taskQueue: []}]", "security: [{userToken: []}]")

    with pytest.raises(ContractError, match="stands open"):
        run_application(guarded)
