"""`headrace dead`, `headrace decisions`, `headrace runs cancel|retry`: on a real service and a real queue server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.local.processes import Parts
from headrace.local.service import ServiceClient
from headrace.local.stack import Stack
from tests.e2e.site import wait_until

OPENAPI = """
openapi: 3.1.0
info: {title: Gauges, version: '1'}
x-headrace: [sweeps, continuation, admin]
paths:
  /v1/cron/measure:
    get: &job
      operationId: gauges.measure_all
      security: [{cronCaller: []}]
      x-job: {overlap: allow}
      responses: &any {default: {description: Any.}}
  /v1/cron/warn:
    get: {operationId: gauges.warn_all, security: [{cronCaller: []}], x-job: {overlap: allow}, responses: *any}
  /v1/cron/dredge:
    get: {operationId: gauges.dredge_all, security: [{cronCaller: []}], x-job: {overlap: allow}, responses: *any}
  /v1/cloudTask/measure:
    post:
      operationId: gauges.measure
      security: [{taskQueue: []}]
      x-task: {queue: fastQueue}
      requestBody: &ids {content: {application/json: {schema: {type: array, items: {type: integer}}}}}
      responses: *any
  /v1/cloudTask/warn:
    post:
      operationId: gauges.warn
      security: [{taskQueue: []}]
      x-task: {queue: fastQueue, batch-size: 3}
      requestBody: *ids
      responses: *any
  /v1/cloudTask/dredge:
    post:
      operationId: gauges.dredge
      security: [{taskQueue: []}]
      x-task: {queue: slowQueue}
      requestBody: *ids
      responses: *any
"""
QUEUES = """
queue:
- {name: fastQueue, rate: 100/s, bucket_size: 20, retry_parameters: {task_retry_limit: 2}}
- {name: slowQueue, rate: 1/d, bucket_size: 1, retry_parameters: {task_retry_limit: 2}}
- {name: headraceQueue, rate: 100/s, retry_parameters: {task_retry_limit: 2}}
"""
CRONS = "cron: [{url: /v1/cron/headrace/sweep, schedule: 1st monday of january 05:00}]\n"
CODE = """
from pathlib import Path

from headrace.errors import PermanentFailure

WET = Path(__file__).with_name("wet")


def ids_after(connection, after):
    return (number for number in (1, 2, 3) if after is None or number > after)


def measure_all(job):
    job.split(measure, ids_after)


def warn_all(job):
    job.split(warn, ids_after)


def dredge_all(job):
    job.split(dredge, ids_after)


def measure(batch):
    if not WET.exists() and batch.items != [9]:
        raise PermanentFailure(f"gauge {batch.items} is dry [sic]")


def warn(batch):
    batch.once("mail", lose_the_answer)


def lose_the_answer(key):
    raise ConnectionError("no answer came")


def dredge(batch): ...
"""


@dataclass(frozen=True)
class Gauges:
    """The application, running, and the command line beside it."""

    folder: Path
    service: ServiceClient

    def start(self, job: str) -> str:
        run_id: str = self.service.call_cron(f"/v1/cron/{job}")["run_id"]
        return run_id

    def end_of(self, run_id: str) -> dict[str, Any]:
        wait_until("The end of the run", lambda: self.service.show_run(run_id)["ended_at"] is not None, every=0.05)
        return self.service.show_run(run_id)

    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--app", str(self.folder)])
        assert result.exit_code == 0, result.output
        return result.output

    def ask(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def refused(self, *arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--app", str(self.folder)])
        assert result.exit_code == 1, result.output
        return result.output


@pytest.fixture(scope="module")
def gauges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gauges]:
    folder = tmp_path_factory.mktemp("gauges")
    files = {"openapi.yaml": OPENAPI, "queue.yaml": QUEUES, "cron.yaml": CRONS, "gauges.py": CODE}
    for name, text in files.items():
        (folder / name).write_text(text.lstrip())
    data = folder / ".headrace"
    data.mkdir()
    with Parts(data) as parts:
        yield Gauges(folder, ServiceClient(Stack(folder, data).start(parts)))


@pytest.fixture
def dead(gauges: Gauges) -> list[dict[str, Any]]:
    """Three batches of a run, dead for real."""
    (gauges.folder / "wet").unlink(missing_ok=True)
    run_id = gauges.start("measure")
    assert gauges.end_of(run_id)["state"] == "failed"
    found: list[dict[str, Any]] = gauges.ask("dead", "list", "--run", run_id)
    return found


def test_dead_batches_are_listed_and_shown(gauges: Gauges, dead: list[dict[str, Any]]) -> None:
    assert [each["cause"] for each in dead] == ["permanent"] * 3
    assert "gauges.measure" in gauges.run("dead", "list")
    assert gauges.ask("dead", "list", "--cause", "poison") == []
    batch_id = str(dead[0]["batch_id"])
    shown = gauges.ask("dead", "show", batch_id)
    assert (shown["payload"], len(shown["attempts"])) == ([3], 1)
    printed = gauges.run("dead", "show", batch_id)
    assert "gauge [3] is dry [sic]" in printed
    assert "Traceback" in printed


def test_one_is_retried_and_then_the_rest_of_its_run(gauges: Gauges, dead: list[dict[str, Any]]) -> None:
    (gauges.folder / "wet").touch()
    run_id, batch_id = dead[0]["run_id"], str(dead[0]["batch_id"])
    assert gauges.ask("dead", "retry", batch_id) == {}
    wait_until("The batch", lambda: gauges.ask("dead", "show", batch_id)["state"] == "done", every=0.1)
    assert "is done, not dead" in gauges.refused("dead", "retry", batch_id)
    assert gauges.ask("runs", "retry", run_id) == {"retried": 2}
    assert gauges.end_of(run_id)["state"] == "completed"
    assert "has no dead batch" in gauges.refused("runs", "retry", run_id)


def test_one_is_given_another_payload(gauges: Gauges, dead: list[dict[str, Any]], tmp_path: Path) -> None:
    batch_id = str(dead[0]["batch_id"])
    assert '/payload/0: the value is not of type "integer"' in gauges.refused(
        "dead", "edit", batch_id, "--payload", '["nine"]'
    )
    (tmp_path / "payload.json").write_text("[9]")
    assert gauges.ask("dead", "edit", batch_id, "--payload", f"@{tmp_path}/payload.json") == {}
    wait_until("The batch", lambda: gauges.ask("dead", "show", batch_id)["state"] == "done", every=0.1)
    result = CliRunner().invoke(main, ["dead", "edit", batch_id, "--payload", "{"])
    assert (result.exit_code, "no JSON is there" in result.output) == (2, True)


def test_all_that_match_are_retried_or_discarded(gauges: Gauges, dead: list[dict[str, Any]]) -> None:
    run_id = dead[0]["run_id"]
    assert gauges.ask("dead", "discard", str(dead[0]["batch_id"])) == {}
    assert gauges.ask("dead", "discard", "--run", run_id, "--cause", "permanent") == {"discarded": 2}
    assert gauges.ask("dead", "retry", "--run", run_id) == {"retried": 0}
    assert "4711" in gauges.refused("dead", "discard", "4711")


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "7", "--all"], ["discard", "7", "--cause", "poison"]])
def test_a_command_names_one_batch_or_says_which(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["dead", *arguments])
    assert result.exit_code == 2
    assert "Name one BATCH_ID, or say which" in result.output


def test_a_decision_is_shown_and_made(gauges: Gauges) -> None:
    run_id = gauges.start("warn")
    wait_until("The question", lambda: gauges.ask("decisions", "list") != [], every=0.1)
    (waiting,) = gauges.ask("decisions", "list")
    printed = gauges.run("decisions", "list")
    assert "effect mail begun" in printed
    assert "nobody knows whether it happened" in printed
    assert gauges.ask("decisions", "decide", str(waiting["batch_id"]), "resume") == {}
    assert gauges.end_of(run_id)["state"] == "completed"
    refused = gauges.refused("decisions", "decide", str(waiting["batch_id"]), "redo")
    assert "waits for no decision" in refused


def test_a_run_is_cancelled_once(gauges: Gauges) -> None:
    run_id = gauges.start("dredge")
    assert gauges.ask("runs", "cancel", run_id, "--reason", "high water") == {}
    shown = gauges.end_of(run_id)
    assert (shown["state"], shown["reason"]) == ("cancelled", "high water")
    assert "there is nothing to cancel" in gauges.refused("runs", "cancel", run_id)
    assert run_id in {run["run_id"] for run in gauges.ask("runs", "list", "--state", "cancelled")}


def test_tasks_are_listed_shown_cancelled_and_retried(gauges: Gauges, dead: list[dict[str, Any]]) -> None:
    run_id, ids = dead[0]["run_id"], [str(each["batch_id"]) for each in dead]
    listed = gauges.ask("tasks", "list", "--run", run_id, "--state", "error", "--hide-successful", "--of-jobs")
    assert [str(each["batch_id"]) for each in listed["batches"]] == ids
    assert "gauges.measure" in gauges.run("tasks", "list", "--search", run_id)
    assert gauges.ask("tasks", "show", ids[0])["display_state"] == "error"
    (gauges.folder / "wet").touch()
    assert gauges.ask("tasks", "retry", *ids) == {"changed": 3, "refused": []}
    assert gauges.end_of(run_id)["state"] == "completed"
    assert "it has ended" in gauges.refused("tasks", "cancel", ids[0])


def test_settings_are_listed_set_and_cleared_and_workers_shown(gauges: Gauges) -> None:
    key = "task_inline_max_concurrent"
    assert key in {each["key"] for each in gauges.ask("settings", "list")}
    assert gauges.ask("settings", "set", key, "7")["value"] == 7
    assert "7 tasks at once" in gauges.run("workers")
    assert "whole number from 0 to 10,000" in gauges.refused("settings", "set", key, "ten")
    assert f"{key} = 0  from default" in gauges.run("settings", "clear", key)
    assert gauges.ask("workers")[key] == 0
