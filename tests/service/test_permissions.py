"""Tokens of the admin API: what each lets its bearer do, over every operation of the contract."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from headrace.config.settings import load_settings
from headrace.contract.check import load_contract
from headrace.contract.operations import Guard, Operation, Permission
from headrace.database import Database, migration
from headrace.service import create_app
from headrace.service.assembly import assemble
from headrace.service.current import service_of
from tests.queue_in_memory import QueueInMemory

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = {"HEADRACE_ADMIN_TOKEN": "secret"}
OPERATIONS = [
    each for each in load_contract(ROOT, load_settings(VARIABLES, folder=ROOT)).operations if each.guard is Guard.ADMIN
]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def path_of(operation: Operation) -> str:
    """The operation's path, about what there is not."""
    return re.sub(r"{run_id}|{\w+}", lambda name: "f" * 32 if name[0] == "{run_id}" else "4711", operation.path)


@dataclass(frozen=True)
class Api:
    """The reference application's admin API, on a new database."""

    client: FlaskClient

    def issue(self, name: str, *permissions: Permission) -> dict[str, Any]:
        body = {"name": name, "permissions": list(permissions)}
        answer = self.client.post("/api/v1/tokens", json=body, headers=bearer("secret"))
        assert answer.status_code == 200, answer.text
        issued: dict[str, Any] = answer.json
        return issued

    def call(self, operation: Operation, token: str) -> tuple[int, str]:
        body = {"json": {}} if operation.payload is not None else {}
        answer = self.client.open(path_of(operation), method=operation.method, headers=bearer(token), **body)
        return answer.status_code, answer.json["message"] if answer.status_code == 403 else ""

    def audit(self, **filters: Any) -> list[dict[str, Any]]:
        answer = self.client.get("/api/v1/audit", query_string=filters, headers=bearer("secret"))
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json["audit"]
        return rows


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    database = Database(database_url)
    migration.upgrade(database)
    settings = load_settings({**VARIABLES, "HEADRACE_DATABASE_URL": database_url}, folder=ROOT)
    app = create_app(settings=settings, assemble=partial(assemble, database=database, driver=QueueInMemory()))
    yield Api(app.test_client())
    database.close()


def test_what_only_looks_needs_read_and_what_changes_something_needs_more() -> None:
    assert len(OPERATIONS) > 20
    for each in OPERATIONS:
        allowed = {Permission.READ, Permission.ADMIN} if each.method == "GET" else set(Permission) - {Permission.READ}
        assert each.permission in allowed, each.operation_id


def test_every_operation_refuses_a_token_with_every_permission_but_its_own(api: Api) -> None:
    for number, operation in enumerate(OPERATIONS):
        others = [each for each in Permission if each not in (operation.permission, Permission.ADMIN)]
        name = f"all but {operation.permission} {number}"
        status, message = api.call(operation, api.issue(name, *others)["token"])
        assert (status, f"permission {operation.permission}," in message) == (403, True), operation.operation_id
        (row,) = api.audit(actor=name)
        assert (row["action"], row["new"]) == ("refused", f"needs {operation.permission}")
        assert row["object"] == f"{operation.method} {path_of(operation)}"


def test_every_operation_lets_in_a_token_with_its_permission_alone(api: Api) -> None:
    for number, operation in enumerate(OPERATIONS):
        name = f"just {operation.permission} {number}"
        status, _ = api.call(operation, api.issue(name, operation.permission)["token"])
        assert status in (200, 204, 400, 404, 409), operation.operation_id
        assert api.audit(actor=name, action="refused") == []


def test_what_is_done_by_a_token_stands_in_the_audit_by_its_name(api: Api) -> None:
    token = api.issue("ada", Permission.SETTINGS)["token"]
    setting = {"key": "batch_size.handlers.access.synchronize_user_access", "value": "7"}
    assert api.client.put("/api/v1/settings", json=setting, headers=bearer(token)).status_code == 200
    (row,) = api.audit(actor="ada")
    assert (row["action"], row["object"], row["new"]) == ("set_override", setting["key"], "7")


def test_a_token_is_issued_listed_and_revoked(api: Api) -> None:
    ada = api.issue("ada", Permission.READ, Permission.ADMIN)
    listed = api.client.get("/api/v1/tokens", headers=bearer(ada["token"])).json["tokens"]
    assert [(each["id"], each["name"], each["permissions"]) for each in listed] == [
        (ada["id"], "ada", ["read", "admin"])
    ]
    assert ada["token"] not in str(listed)
    path = f"/api/v1/tokens/{ada['id']}"
    assert api.client.delete(path, headers=bearer("secret")).status_code == 204
    refused = api.client.get("/api/v1/runs", headers=bearer(ada["token"]))
    assert (refused.status_code, refused.json["errorCode"]) == (401, "UNAUTHENTICATED")
    assert api.client.delete(path, headers=bearer("secret")).status_code == 409
    assert api.client.delete("/api/v1/tokens/4711", headers=bearer("secret")).status_code == 404
    assert [row["action"] for row in api.audit(object=f"token/{ada['id']}")] == ["revoke_token", "issue_token"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "ada", "permissions": []}, 400),
        ({"name": "ada", "permissions": ["everything"]}, 400),
        ({"name": "", "permissions": ["read"]}, 400),
        ({"name": "x" * 81, "permissions": ["read"]}, 400),
        ({"name": "admin token", "permissions": ["read"]}, 400),
        ({"name": "taken", "permissions": ["read"]}, 409),
    ],
)
def test_a_token_that_cannot_be_is_refused(api: Api, body: dict[str, Any], status: int) -> None:
    api.issue("taken", Permission.READ)
    assert api.client.post("/api/v1/tokens", json=body, headers=bearer("secret")).status_code == status


def test_the_audit_is_read_page_by_page(api: Api) -> None:
    for number in range(5):
        api.issue(f"ada {number}", Permission.READ)
    first = api.audit(action="issue_token", limit=3)
    rest = api.audit(action="issue_token", limit=3, before=first[-1]["id"])
    assert [row["new"] for row in first + rest] == [f"ada {number}: read" for number in (4, 3, 2, 1, 0)]


def test_metrics_are_read_with_the_permission_read(api: Api) -> None:
    reader, other = api.issue("ada", Permission.READ)["token"], api.issue("grace", Permission.CANCEL)["token"]
    assert api.client.get("/metrics", headers=bearer(reader)).status_code == 200
    assert api.client.get("/metrics", headers=bearer("secret")).status_code == 200
    assert api.client.get("/metrics", headers=bearer("hr_guess")).status_code == 401
    assert api.client.get("/metrics", headers=bearer(other)).status_code == 403
    assert api.audit(actor="grace")[0]["object"] == "GET /metrics"


def test_without_the_roots_token_no_other_opens_anything(database_url: str) -> None:
    database = Database(database_url)
    migration.upgrade(database)
    settings = load_settings({"HEADRACE_DATABASE_URL": database_url}, folder=ROOT)
    app = create_app(settings=settings, assemble=partial(assemble, database=database, driver=QueueInMemory()))
    tokens = service_of(app).tokens
    assert tokens is not None
    token = tokens.issue("ada", [Permission.ADMIN], actor="admin token")["token"]
    client = app.test_client()
    assert [client.get(path, headers=bearer(token)).status_code for path in ("/api/v1/runs", "/metrics")] == [401, 401]
    assert client.get("/console").status_code == 403
    database.close()
