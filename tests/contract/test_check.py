"""Start-up and `headrace check` find everything that does not fit together."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.contract import Guard, Kind
from headrace.contract.check import check_application, examine, load_contract
from headrace.errors import ContractError, Fault, Level
from tests.contract.application import Files, run_application, settings_of


def errors_of(files: Files) -> list[Fault]:
    faults = check_application(files.folder, settings_of(files.folder))
    return [fault for fault in faults if fault.level is Level.ERROR]


def the_error(files: Files) -> Fault:
    (fault,) = errors_of(files)
    return fault


def test_an_application_that_fits_together_has_no_errors(files: Files) -> None:
    assert errors_of(files) == []


def test_the_contract_tells_what_each_operation_is(files: Files) -> None:
    contract = load_contract(files.folder, settings_of(files.folder))
    operations = {each.operation_id.rpartition(".")[2]: each for each in contract.operations}

    assert {name: (each.kind, each.guard) for name, each in operations.items()} == {
        "count_users": (Kind.JOB, Guard.CRON),
        "relay": (Kind.SWEEP, Guard.CRON),
        "reap": (Kind.SWEEP, Guard.CRON),
        "reconcile": (Kind.SWEEP, Guard.CRON),
        "resume": (Kind.SWEEP, Guard.CRON),
        "synchronize_users": (Kind.HANDLER, Guard.TASK_QUEUE),
        "process_event": (Kind.HANDLER, Guard.TASK_QUEUE),
        "show_thing": (Kind.REQUEST, Guard.PUBLIC),
        "list_runs": (Kind.REQUEST, Guard.ADMIN),
        "show_run": (Kind.REQUEST, Guard.ADMIN),
    }
    handler = operations["synchronize_users"]
    assert handler.task is not None
    assert (handler.task.queue, handler.task.batch_size, handler.task.time_limit) == ("usersQueue", 50, 300.0)
    assert handler.line == files.line_of("openapi.yaml", "/v1/cloudTask/synchronizeUsers") + 1
    assert contract.handler_of(handler.function) is handler
    assert set(contract.queues) == {"usersQueue", "eventsQueue"}


def test_an_operation_without_its_function_is_named(files: Files) -> None:
    files.edit("MODULE.py", "def count_users(", "def count_user(")

    fault = the_error(files)

    assert fault.file == str(files.folder / "openapi.yaml")
    assert fault.line == files.line_of("openapi.yaml", "operationId: MODULE.count_users")
    assert f"{files.module}.count_users has no function" in fault.message
    assert "Did you mean count_user?" in fault.message


def test_a_service_does_not_start_without_a_function_and_says_all_that_is_wrong(files: Files) -> None:
    files.edit("MODULE.py", "def count_users(", "def count_user(")
    files.edit("openapi.yaml", "queue: usersQueue", "queue: userQueue")

    with pytest.raises(ContractError) as raised:
        run_application(files)

    assert f"{files.module}.count_users" in str(raised.value)
    assert "userQueue" in str(raised.value)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("count_users = 3", "is not a function"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError"),
        ("def count_users(job): ...", "cannot be called as count_users(job, backfill)"),
    ],
)
def test_code_that_cannot_be_bound_is_named_with_its_reason(files: Files, code: str, reason: str) -> None:
    files.edit("MODULE.py", "def count_users(job, backfill): ...", code)

    assert any(reason in fault.message and "count_users" in fault.message for fault in errors_of(files))


def test_a_module_that_does_not_exist_is_named(files: Files) -> None:
    files.edit("openapi.yaml", "MODULE.count_users", "api.nowhere.count_users")

    assert "There is no module api." in the_error(files).message


def test_an_operation_without_an_operation_id_is_an_error(files: Files) -> None:
    files.edit("openapi.yaml", "      operationId: MODULE.count_users\n", "")

    assert "There is no operationId" in the_error(files).message


def test_one_operation_id_twice_is_an_error_that_names_both_lines(files: Files) -> None:
    files.edit("openapi.yaml", "MODULE.process_event", "MODULE.synchronize_users")

    fault = the_error(files)

    first = files.line_of("openapi.yaml", "/v1/cloudTask/synchronizeUsers") + 1
    assert fault.message == f"{files.module}.synchronize_users is bound already, in line {first}."
    assert fault.line > first


def test_a_task_on_an_undeclared_queue_is_an_error(files: Files) -> None:
    files.edit("openapi.yaml", "queue: usersQueue", "queue: userQueue")

    fault = the_error(files)

    assert "The queue userQueue" in fault.message
    assert "Did you mean usersQueue?" in fault.message
    assert fault.line == files.line_of("openapi.yaml", "queue: userQueue")


def test_a_queue_that_no_handler_uses_is_a_warning(files: Files) -> None:
    files.edit("queue.yaml", "- name: eventsQueue", "- {name: oldQueue, rate: 1/s}\n- name: eventsQueue")

    examination = examine(files.folder, settings_of(files.folder))

    assert examination.contract is not None
    (fault,) = [each for each in examination.faults if "oldQueue" in each.message and "handler" in each.message]
    assert fault.level is Level.WARNING
    assert fault.line == files.line_of("queue.yaml", "oldQueue")


def test_a_schedule_of_no_operation_is_a_warning(files: Files) -> None:
    files.edit("cron.yaml", "url: /v1/cron/countUsers", "url: /v1/cron/countUser")

    faults = check_application(files.folder, settings_of(files.folder))

    (fault,) = [each for each in faults if "countUser " in each.message]
    assert fault.level is Level.WARNING
    assert "Did you mean /v1/cron/countUsers?" in fault.message
    assert fault.line == files.line_of("cron.yaml", "/v1/cron/countUser")


def test_a_job_without_a_schedule_is_fine(files: Files) -> None:
    before = check_application(files.folder, settings_of(files.folder))
    files.edit("cron.yaml", "- url: /v1/cron/countUsers\n  schedule: every day 23:00\n", "")

    assert check_application(files.folder, settings_of(files.folder)) == before


def test_faults_of_queue_yaml_and_cron_yaml_are_in_the_same_list(files: Files) -> None:
    files.edit("queue.yaml", "rate: 10/s", "rte: 10/s")
    files.edit("cron.yaml", "every day 23:00", "every day 25:00")

    assert {Path(fault.file).name for fault in errors_of(files)} >= {"queue.yaml", "cron.yaml"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("security: [{cronCaller: []}]\n      x-job", "x-job"),
        ("security: [{cronCaller: []}]\n      x-job", "security: []\n      x-job"),
        ("security: [{cronCaller: []}]\n      x-job", "security: [{cronCaller: []}, {}]\n      x-job"),
        ("security: [{cronCaller: []}]\n      x-job", "security: [{adminToken: []}]\n      x-job"),
        ("security: [{taskQueue: []}]\n      x-task: {queue: usersQueue", "x-task: {queue: usersQueue"),
        (
            "security: [{taskQueue: []}]\n      x-task: {queue: usersQueue",
            "security: []\n      x-task: {queue: usersQueue",
        ),
    ],
)
def test_a_path_under_the_prefixes_without_its_guard_is_an_error(files: Files, old: str, new: str) -> None:
    files.edit("openapi.yaml", old, new)

    assert "stands open" in the_error(files).message


def test_any_other_operation_must_say_who_may_call_it(files: Files) -> None:
    files.edit("openapi.yaml", "operationId: MODULE.show_thing\n      security: []", "operationId: MODULE.show_thing")

    fault = the_error(files)

    assert "says nothing of its security" in fault.message
    assert fault.line == files.line_of("openapi.yaml", "/api/v1/things/") + 1


def test_the_documents_own_security_counts_for_its_requests(files: Files) -> None:
    files.edit("openapi.yaml", "operationId: MODULE.show_thing\n      security: []", "operationId: MODULE.show_thing")
    files.edit("openapi.yaml", "paths:\n", "security: [{adminToken: []}]\npaths:\n")

    contract = load_contract(files.folder, settings_of(files.folder))

    assert contract.by_id[f"{files.module}.show_thing"].guard is Guard.ADMIN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("x-task: {queue: usersQueue, batchsize: 50}", "x-task has no key batchsize. Did you mean batch-size?"),
        ("x-task: {queue: usersQueue, batch-size: 0}", "batch-size is less than 1"),
        ("x-task: {queue: usersQueue, batch-size: many}", "batch-size Not a valid integer"),
        ("x-task: {queue: users queue}", "is no queue's name"),
        ("x-task: {batch-size: 5}", "queue is missing"),
        ("x-task: {queue: usersQueue, idempotent: maybe}", "is neither true nor false"),
        ("x-task: {queue: usersQueue, time-limit: 5 minutes}", "give a number with s, m or h"),
        ("x-task: {queue: usersQueue, time-limit: 30m}", "the longest that Cloud Tasks takes"),
        ("x-task: {queue: usersQueue, time-limit: 0s}", "give at least 1 s"),
        ("x-task: usersQueue", "x-task is a mapping"),
        ("x-nothing: 1", "There is no x-task"),
    ],
)
def test_options_of_a_task_that_cannot_be_are_named(files: Files, options: str, message: str) -> None:
    files.edit("openapi.yaml", "x-task: {queue: usersQueue, batch-size: 50, time-limit: 5m}", options)

    fault = next(each for each in errors_of(files) if message in each.message)

    assert fault.line in {
        files.line_of("openapi.yaml", options),
        files.line_of("openapi.yaml", "/synchronizeUsers") + 1,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("x-job: {overlap: never}", "overlap is not one of skip, queue, replace, allow"),
        ("x-job: {overlap: skip, overlap-limit: 2}", "overlap-limit stands beside overlap: allow alone"),
        ("x-job: {overlap-key: [nobody]}", "nobody is no parameter of this job"),
        ("x-job: {overlp: skip}", "x-job has no key overlp. Did you mean overlap?"),
        ("x-job: {time-limit: 2h}", "is 7200 s"),
    ],
)
def test_options_of_a_job_that_cannot_be_are_named(files: Files, options: str, message: str) -> None:
    files.edit("openapi.yaml", "x-job: {overlap: skip, time-limit: 50s}", options)

    assert message in the_error(files).message


def test_jobs_and_tasks_stand_under_their_own_prefixes_alone(files: Files) -> None:
    files.edit("openapi.yaml", "operationId: MODULE.show_thing", "operationId: MODULE.show_thing\n      x-job: {}")

    assert "x-job stands on paths under /v1/cron/ alone" in the_error(files).message


def test_a_handler_is_called_by_post(files: Files) -> None:
    files.edit("openapi.yaml", "synchronizeUsers:\n    post:", "synchronizeUsers:\n    get:")

    assert "A handler is called by POST." in [fault.message for fault in errors_of(files)]


@pytest.mark.parametrize("sweep", ["relay", "reap", "reconcile", "resume"])
def test_a_missing_sweep_is_an_error(files: Files, sweep: str) -> None:
    files.edit("openapi.yaml", f"headrace.service.sweeps.{sweep}", "headrace.service.sweeps.purge")

    assert f"The sweep headrace.service.sweeps.{sweep} is not declared" in the_error(files).message


def test_a_sweep_that_no_schedule_calls_is_a_warning(files: Files) -> None:
    files.edit("cron.yaml", "- {url: /v1/cron/headrace/reap, schedule: every 1 minutes}\n", "")

    faults = check_application(files.folder, settings_of(files.folder))

    assert any("calls /v1/cron/headrace/reap" in each.message for each in faults if each.level is Level.WARNING)


def test_bodies_are_json(files: Files) -> None:
    files.edit(
        "openapi.yaml",
        "content: {application/json: {schema: {$ref: '#/components/schemas/Event'}}}",
        "content: {text/csv: {}}",
    )

    assert any("Bodies are application/json" in fault.message for fault in errors_of(files))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("openapi: 3.1.0", "openapi: 3.0.3", "OpenAPI 3.0.3; write it as 3.1"),
        ("description: Done.", "descripton: Done.", '"description" is a required property'),
        ("'#/components/schemas/Event'", "'#/components/schemas/Evnt'", "leads to nothing"),
        ("'#/components/schemas/Event'", "'other.yaml#/Event'", "leads out of this file"),
        ("components:", "components: [", "This is no YAML"),
        ("  /api/v1/runs:", "  /v1/cloudTask/processEvent:", "stands here again"),
        ("name: thing_id, in: path", "name: id, in: path", "thing_id"),
    ],
)
def test_a_document_that_is_not_sound_is_an_error_with_its_line(files: Files, old: str, new: str, message: str) -> None:
    files.edit("openapi.yaml", old, new)

    fault = next(fault for fault in errors_of(files) if message in fault.message)

    assert fault.line > 0


def test_a_missing_openapi_yaml_is_an_error(tmp_path: Path) -> None:
    faults = check_application(tmp_path, settings_of(tmp_path))

    assert [str(fault) for fault in faults] == [
        f"{tmp_path}/openapi.yaml: error: There is no such file; the contract begins there."
    ]


def test_a_marshmallow_schema_that_disagrees_is_an_error(files: Files) -> None:
    files.edit("MODULE.py", "required=True, ", "")

    assert "/eventId required is true in openapi.yaml, but false in the marshmallow schema" in the_error(files).message


@pytest.mark.parametrize(
    ("field", "items", "difference"),
    [
        ("validate=validate.Range(min=1)", "type: integer", "minimum is none in openapi.yaml, but 1 in"),
        ("", "type: integer, minimum: 1", "minimum is 1 in openapi.yaml, but none in"),
    ],
)
def test_a_field_that_disagrees_with_the_items_is_an_error_with_its_line(
    files: Files, field: str, items: str, difference: str
) -> None:
    files.edit("MODULE.py", "class Event(", f"USER_ID = fields.Integer({field})\n\n\nclass Event(")
    either = "{oneOf: [{$ref: '#/components/schemas/UserIds'}, {type: 'null'}]}"
    files.edit("openapi.yaml", either, f"{{type: array, items: {{{items}}}}}")
    files.edit("openapi.yaml", "batch-size: 50,", "batch-size: 50, schema: MODULE.USER_ID,")

    fault = the_error(files)

    assert (fault.file, fault.line) == (str(files.folder / "openapi.yaml"), files.line_of("openapi.yaml", "USER_ID"))
    assert f"{files.module}.USER_ID: /* {difference}" in fault.message


def test_a_schema_for_an_operation_without_a_body_is_an_error(files: Files) -> None:
    files.edit("openapi.yaml", "      requestBody: {$ref: '#/components/requestBodies/UserIds'}\n", "")
    files.edit("openapi.yaml", "batch-size: 50,", "batch-size: 50, schema: MODULE.Event,")

    assert "the operation has no body's schema" in the_error(files).message


@pytest.mark.parametrize("schema", ["MODULE.Evnt", "MODULE.show_thing", "MODULE.fields.Integer", "nowhere"])
def test_a_schema_that_is_none_is_an_error(files: Files, schema: str) -> None:
    files.edit("openapi.yaml", "schema: MODULE.Event}", f"schema: {schema}}}")

    assert len(errors_of(files)) == 1


def test_an_overlay_of_the_environment_is_checked(files: Files) -> None:
    (files.folder / "queue.staging.yaml").write_text("queue: [{name: nowhere, rate: 1/s}]\n")
    settings = replace(settings_of(files.folder), env="staging")

    assert any("nowhere" in fault.message for fault in check_application(files.folder, settings))


def test_the_command_prints_faults_with_their_places_and_exits_1(files: Files) -> None:
    files.edit("openapi.yaml", "queue: usersQueue", "queue: userQueue")
    line = files.line_of("openapi.yaml", "queue: userQueue")

    result = CliRunner().invoke(main, ["check", str(files.folder)])

    assert result.exit_code == 1
    assert f"openapi.yaml:{line}:16: error: The queue userQueue" in result.output
    assert "1 error, " in result.output


def test_the_command_exits_0_when_there_are_warnings_alone(files: Files) -> None:
    result = CliRunner().invoke(main, ["check", str(files.folder)])

    assert result.exit_code == 0
    assert "all fits together" in result.output


def test_the_command_writes_json(files: Files) -> None:
    files.edit("openapi.yaml", "queue: usersQueue", "queue: userQueue")

    result = CliRunner().invoke(main, ["check", str(files.folder), "--json"])

    rows = json.loads(result.output)
    (row,) = [row for row in rows if row["level"] == "error"]
    assert row["line"] == files.line_of("openapi.yaml", "queue: userQueue")
    assert row["file"].endswith("openapi.yaml")


def test_the_command_checks_the_overlay_of_an_environment(files: Files) -> None:
    (files.folder / "queue.staging.yaml").write_text("queue: [{name: nowhere, rate: 1/s}]\n")

    assert CliRunner().invoke(main, ["check", str(files.folder), "--env", "staging"]).exit_code == 1
    assert CliRunner().invoke(main, ["check", str(files.folder)]).exit_code == 0
