"""What a person may do in the console is what the token allows that they logged in with."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from headrace.console.service import PAGES
from headrace.contract.operations import Permission
from headrace.database import Database, audit_rows
from headrace.database.audit_rows import AuditFilter, AuditRow
from headrace.service.current import service_of
from tests.console.conftest import csrf_of
from tests.console.test_pages import kill_first, start

LogIn = Callable[..., int]


@pytest.fixture
def log_in(visitor: FlaskClient) -> LogIn:
    """Log in by a token of ada's that has these permissions; the token's id."""

    def log_in(*permissions: Permission) -> int:
        tokens = service_of(visitor.application).tokens
        assert tokens is not None
        issued = tokens.issue("ada", permissions, actor="admin token")
        assert visitor.post("/console/login", data={"token": issued["token"]}).status_code == 303
        token_id: int = issued["id"]
        return token_id

    return log_in


def refusals(database: Database) -> list[AuditRow]:
    with database.read() as connection:
        return audit_rows.list_audit(connection, limit=50, where=AuditFilter("ada", "refused"))


def test_what_a_person_does_stands_in_the_audit_by_the_name_of_their_token(
    visitor: FlaskClient, database: Database, log_in: LogIn
) -> None:
    log_in(Permission.READ, Permission.CANCEL)
    run_id = start(visitor)
    answer = visitor.post(f"/console/runs/{run_id}/cancel", data={"csrf": csrf_of(visitor)})
    assert answer.status_code == 303
    with database.read() as connection:
        (row,) = audit_rows.list_audit(connection, limit=5, where=AuditFilter("ada"))
    assert (row.action, row.object) == ("cancel_run", f"run/{run_id}")


def test_an_action_without_its_permission_is_refused_by_name_and_written_down(
    visitor: FlaskClient, database: Database, log_in: LogIn
) -> None:
    log_in(Permission.READ, Permission.RETRY_TASK)
    run_id = start(visitor)
    answer = visitor.post(f"/console/runs/{run_id}/cancel", data={"csrf": csrf_of(visitor)})
    assert (answer.status_code, "permission cancel" in answer.text, 'role="alert"' in answer.text) == (403, True, True)
    (row,) = refusals(database)
    assert (row.object, row.new) == (f"POST /console/runs/{run_id}/cancel", "needs cancel")
    assert ">running<" in visitor.get(f"/console/runs/{run_id}").text


def test_every_action_is_refused_to_who_may_only_read(visitor: FlaskClient, log_in: LogIn) -> None:
    log_in(Permission.READ)
    form = {"csrf": csrf_of(visitor)}
    rules = [rule for rule in visitor.application.url_map.iter_rules() if rule.endpoint.startswith("console.POST ")]
    assert len(rules) > 10
    for rule in rules:
        _, path = rule.build(dict.fromkeys(rule.arguments, 4711)) or ("", "")
        assert visitor.post(path, data=form).status_code == 403, path


def test_pages_are_for_those_who_may_read(visitor: FlaskClient, database: Database, log_in: LogIn) -> None:
    log_in(*(each for each in Permission if each not in (Permission.READ, Permission.ADMIN)))
    for page in PAGES:
        answer = visitor.get(f"/console{page.path}")
        assert (answer.status_code, "Not allowed" in answer.text) == (403, True), page
        assert "Log out" in answer.text
    assert {f"GET /console{page.path}" for page in PAGES} == {row.object for row in refusals(database)}


def test_buttons_that_a_person_may_not_press_say_what_is_missing(
    visitor: FlaskClient, database: Database, log_in: LogIn
) -> None:
    log_in(Permission.READ, Permission.SEND_SCHEDULE, Permission.PURGE)
    start(visitor)
    task = visitor.get(f"/console/tasks/{kill_first(database)}").text
    assert '<button disabled title="Needs the permission retry_task">Retry</button>' in task
    assert '<button disabled title="Needs the permission retry_task">Edit and retry</button>' in task
    assert 'action="/console/tasks/1/discard"' in task
    schedules = visitor.get("/console/schedules").text
    assert 'action="/console/schedules/send"' in schedules
    assert 'action="/console/schedules/pause"' not in schedules
    assert '<button disabled title="Needs the permission settings">Edit</button>' in schedules
    assert visitor.get("/console/schedules/edit?url=/v1/cron/synchronizeUserAccess").status_code == 403


def test_the_navigation_has_what_a_person_may_see(visitor: FlaskClient, browser: FlaskClient, log_in: LogIn) -> None:
    assert 'href="/console/tokens"' in browser.get("/console").text
    log_in(Permission.READ)
    page = visitor.get("/console").text
    assert ('href="/console/tokens"' in page, 'href="/console/audit"' in page) == (False, True)
    assert "Logged in as ada" in page


def test_a_token_that_is_revoked_ends_the_sessions_that_it_opened(visitor: FlaskClient, log_in: LogIn) -> None:
    token_id = log_in(Permission.READ, Permission.RETRY_TASK)
    csrf = csrf_of(visitor)
    tokens = service_of(visitor.application).tokens
    assert tokens is not None
    tokens.revoke(token_id, actor="admin token")
    assert visitor.get("/console/runs").headers["Location"] == "/console/login?next=/console/runs"
    live = visitor.get("/console/runs", headers={"HX-Request": "true"})
    assert (live.status_code, live.headers["HX-Redirect"]) == (401, "/console/login")
    assert visitor.post("/console/dead/retry", data={"csrf": csrf}).status_code == 401
