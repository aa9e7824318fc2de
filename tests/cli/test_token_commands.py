"""`headrace tokens` and `headrace audit`, on a real service; commands whose environment has an issued token."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from governance.schema import open_database
from headrace.cli import main
from headrace.local.address import Address
from headrace.local.processes import Parts
from headrace.local.stack import Stack

APP = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Running:
    """A service, and the command line beside it."""

    address: Address

    def run(self, *arguments: str, token: str | None = None, exit_code: int = 0) -> str:
        variables = {
            "HEADRACE_SERVICE_URL": self.address.service,
            "HEADRACE_ADMIN_TOKEN": token or self.address.admin_token,
        }
        result = CliRunner().invoke(main, [*arguments, "--app", str(APP)], env=variables)
        assert result.exit_code == exit_code, result.output
        return result.output

    def ask(self, *arguments: str, token: str | None = None) -> Any:
        return json.loads(self.run(*arguments, "--json", token=token))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("data")
    with open_database(f"sqlite:///{data / 'application.db'}"):
        pass
    with Parts(data) as parts:
        yield Running(Stack(APP, data).start(parts))


def test_a_token_is_issued_listed_used_and_revoked(running: Running) -> None:
    issued = running.ask("tokens", "issue", "ada", "--permission", "read", "--permission", "pause")
    token, token_id = issued["token"], str(issued["id"])
    (row,) = [each for each in running.ask("tokens", "list") if each["name"] == "ada"]
    assert (row["id"], row["permissions"]) == (issued["id"], ["read", "pause"])
    assert "read, pause" in running.run("tokens", "list")
    assert running.ask("schedules", "pause", "/v1/cron/exportToRdr", token=token)["state"] == "paused"
    refused = running.run("schedules", "send", "/v1/cron/exportToRdr", token=token, exit_code=1)
    assert "permission send_schedule" in refused
    assert running.run("tokens", "revoke", token_id) == f"token {token_id} is revoked\n"
    assert "401" in running.run("runs", "list", token=token, exit_code=1)


def test_a_token_is_printed_alone_for_scripts_to_keep(running: Running) -> None:
    printed = running.run("tokens", "issue", "a script", "--permission", "read")
    assert running.ask("runs", "list", token=printed.strip()) == []


def test_a_permission_that_there_is_not_is_named(running: Running) -> None:
    assert "send_schedule" in running.run("tokens", "issue", "eve", "--permission", "fly", exit_code=2)


def test_the_audit_is_listed_by_who_what_and_place(running: Running) -> None:
    grace = running.ask("tokens", "issue", "grace", "--permission", "pause")["token"]
    for word in ("pause", "resume", "pause"):
        running.run("schedules", word, "/v1/cron/auditProjectAccess", token=grace)
    running.run("audit", "list", token=grace, exit_code=1)
    rows = running.ask("audit", "list", "--actor", "grace")
    assert [row["action"] for row in rows] == ["refused", "pause_schedule", "resume_schedule", "pause_schedule"]
    assert [row["id"] for row in running.ask("audit", "list", "--actor", "grace", "--before", str(rows[1]["id"]))] == [
        rows[2]["id"],
        rows[3]["id"],
    ]
    paused = running.ask("audit", "list", "--actor", "grace", "--action", "pause_schedule", "--limit", "1")
    assert [row["id"] for row in paused] == [rows[1]["id"]]
    of = running.ask("audit", "list", "--object", "schedule//v1/cron/auditProjectAccess")
    assert {row["actor"] for row in of} == {"grace"}
    assert "grace" in running.run("audit", "list", "--action", "resume_schedule")
