"""What `--json` prints is JSON and nothing else, for every command that has it."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from governance.schema import open_database
from headrace.cli import main
from headrace.local.processes import Parts
from headrace.local.service import ServiceClient
from headrace.local.stack import Stack
from tests.cli.test_help import COMMANDS, command_at
from tests.examples.fences import fences_of

APP = Path(__file__).resolve().parents[2]
OF_FILES = {
    ("check", str(APP)): [],
    ("queues", "check", f"{APP}/queue.yaml"): [],
    ("schedules", "check", f"{APP}/cron.yaml"): [],
    ("schedules", "next", "every day 22:00", "--start", "2026-03-07T00:00:00Z", "--count", "1"): [
        "2026-03-07T22:00:00Z"
    ],
}
OF_SCHEDULES = [("schedules", name) for name in ("show", "set", "pause", "resume", "send")]
# In test_operator_commands.py.
OF_OPERATORS = [
    *(("dead", name) for name in ("list", "show", "retry", "edit", "discard")),
    *(("decisions", name) for name in ("list", "decide")),
    *(("runs", name) for name in ("cancel", "retry")),
    *(("tasks", name) for name in ("list", "show", "cancel", "retry")),
    *(("settings", name) for name in ("list", "set", "clear")),
    ("workers",),
]
# In test_queue_commands.py.
OF_QUEUES = [
    *(("queues", name) for name in ("pause", "resume", "purge", "limit", "reset")),
    ("tasks", "run"),
]
# In tests/alerts/test_service.py.
OF_ALERTS = [("alerts", "list"), ("alerts", "acknowledge")]
# In test_token_commands.py.
OF_TOKENS = [*(("tokens", name) for name in ("list", "issue", "revoke")), ("audit", "list")]
OF_A_SERVICE = [("runs", "list"), ("runs", "show"), ("queues", "list")]


@dataclass(frozen=True)
class Running:
    """Both parts on this machine, and a run that has ended."""

    data: Path
    run_id: str

    def ask(self, *arguments: str) -> Any:
        return printed(*arguments, HEADRACE_DATA=str(self.data))


def printed(*arguments: str, **variables: str) -> Any:
    result = CliRunner().invoke(main, [*arguments, "--json"], env=variables)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("data")
    with open_database(f"sqlite:///{data / 'application.db'}"):
        pass
    with Parts(data) as parts:
        service = ServiceClient(Stack(APP, data).start(parts))
        yield Running(data, service.call_cron("/v1/cron/auditProjectAccess")["run_id"])


def test_every_command_with_json_is_tried_here():
    with_json = {path for path in COMMANDS if any("--json" in each.opts for each in command_at(path).params)}
    of_files = {
        arguments[: 1 if not isinstance(command_at(arguments[:1]), click.Group) else 2] for arguments in OF_FILES
    }
    assert with_json == {
        *of_files,
        *OF_A_SERVICE,
        *OF_SCHEDULES,
        *OF_OPERATORS,
        *OF_ALERTS,
        *OF_TOKENS,
        *OF_QUEUES,
        ("schedules", "list"),
        ("emulator",),
    }


@pytest.mark.parametrize("arguments", OF_FILES, ids=lambda arguments: " ".join(arguments[:2]))
def test_files_are_judged_in_json(arguments: tuple[str, ...]):
    assert printed(*arguments) == OF_FILES[arguments]


def test_schedules_are_listed_in_json():
    rows = printed("schedules", "list", "--app", str(APP))
    assert {"url", "schedule", "timezone", "next"} == set(rows[0])
    assert "/v1/cron/synchronizeUserAccess" in {row["url"] for row in rows}


def test_runs_are_listed_and_shown_in_json(running: Running):
    (row,) = [row for row in running.ask("runs", "list") if row["run_id"] == running.run_id]
    shown = running.ask("runs", "show", running.run_id)
    assert (shown["job"], shown["state"]) == ("api.projects.audit_project_access", "completed")
    assert set(row) <= set(shown)


def test_schedules_of_a_service_are_shown_and_changed_in_json(running: Running):
    url = "/v1/cron/exportToRdr"

    def shown() -> Any:
        return next(row for row in running.ask("schedules", "show") if row["url"] == url)

    assert (shown()["state"], shown()["edited"]) == ("active", False)
    assert running.ask("schedules", "set", url, "--schedule", "every day 04:00")["schedule"] == "every day 04:00"
    assert shown()["file"]["schedule"] == "every day 22:00"
    assert running.ask("schedules", "set", url, "--schedule", "file")["edited"] is False
    assert running.ask("schedules", "pause", url)["state"] == "paused"
    assert running.ask("schedules", "send", url) == {}
    assert running.ask("schedules", "resume", url)["state"] == "active"
    assert "api.rdr.export_to_rdr" in {row["job"] for row in running.ask("runs", "list")}


def test_queues_are_listed_in_json(running: Running):
    rows = {row["queue"]: row for row in running.ask("queues", "list")}
    assert rows["auditProjectQueue"]["state"] == "running"
    assert rows["synchronizeAccessQueue"]["limits"]["bucket_size"] == 500


def test_queues_of_a_queue_server_alone_are_listed_in_json(running: Running):
    host = json.loads((running.data / "running.json").read_text())["queue_server"]
    nowhere = {"HEADRACE_DATA": str(running.data / "nowhere"), "CLOUD_TASKS_EMULATOR_HOST": host}
    rows = {row["name"]: row for row in printed("queues", "list", **nowhere)}
    assert rows["auditProjectQueue"]["state"] == "RUNNING"
    assert rows["synchronizeAccessQueue"]["bucket_size"] == 500


def test_the_commands_of_queues_md_run(running: Running):
    commands = [command for fence in fences_of("docs/queues.md") for command in fence.commands]
    set_, given_back = (running.ask(*shlex.split(command)[1:]) for command in commands)
    assert (set_["limits"]["rate_per_second"], set_["limits"]["max_attempts"]) == (2, 5)
    assert given_back["declared"] is None


def test_the_queue_server_tells_its_addresses_in_json():
    command = [sys.executable, "-m", "headrace", "emulator", "--memory", "--json", "--grpc-port=0", "--rest-port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    assert process.returncode == 0
    assert {"grpc", "rest", "issuer", "pid"} <= set(told)
