"""`x-headrace` brings the package's own operations into an application's contract."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from headrace.cli import main
from headrace.contract.check import check_application, load_contract, read_contract
from headrace.contract.includes import NAMES
from headrace.errors import Fault, Level
from tests.contract.application import Files, settings_of

ALL = "[sweeps, continuation, admin]"


def give(files: Files, names: str = ALL) -> None:
    """Have the application name documents of the package, declare no sweep itself, and call the one that does all."""
    document = yaml.safe_load((files.folder / "openapi.yaml").read_text())
    document["paths"] = {path: item for path, item in document["paths"].items() if "/headrace/" not in path}
    document["x-headrace"] = yaml.safe_load(names)
    (files.folder / "openapi.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (files.folder / "cron.yaml").write_text("cron: [{url: /v1/cron/headrace/sweep, schedule: every 1 minutes}]\n")
    with (files.folder / "queue.yaml").open("a") as file:
        file.write("- {name: headraceQueue, rate: 5/s, retry_parameters: {task_retry_limit: 5}}\n")


def faults_of(files: Files) -> Sequence[Fault]:
    return check_application(files.folder, settings_of(files.folder))


def test_the_operations_of_the_package_join_and_one_sweep_is_enough(files: Files) -> None:
    give(files)
    assert [fault for fault in faults_of(files) if "headrace" in fault.message.lower()] == []
    contract = load_contract(files.folder, settings_of(files.folder))
    for name in ("service.sweeps.sweep", "service.sweeps.purge", "service.admin.retry_dead"):
        assert f"headrace.{name}" in contract.by_id
    assert contract.by_id["headrace.service.continuation.continue_split"].task is not None


def test_what_is_not_named_does_not_join(files: Files) -> None:
    give(files, "[sweeps]")
    contract = load_contract(files.folder, settings_of(files.folder))
    assert "headrace.service.continuation.continue_split" not in contract.by_id
    assert "headrace.service.admin.retry_dead" not in contract.by_id


def test_the_documents_of_the_package_are_these() -> None:
    assert NAMES == ("admin", "continuation", "sweeps")


@pytest.mark.parametrize("name", NAMES)
def test_each_document_of_the_package_stands_alone(files: Files, name: str) -> None:
    give(files, f"[{name}]")
    errors = [fault.message for fault in faults_of(files) if fault.level is Level.ERROR]
    assert all("is not declared, so a run could wait" in message for message in errors)
    assert (errors == []) == (name == "sweeps")


def test_a_path_that_the_application_declares_wins(files: Files) -> None:
    give(files)
    contract = load_contract(files.folder, settings_of(files.folder))
    listing = contract.by_id["headrace.service.admin.list_runs"]
    assert listing.line == files.line_of("openapi.yaml", "operationId: headrace.service.admin.list_runs") - 1
    limit = contract.document["paths"]["/api/v1/runs"]["get"]["parameters"][0]["schema"]
    assert limit["maximum"] == 500, "the application's own limit"


def test_an_operation_that_the_application_binds_elsewhere_wins(files: Files) -> None:
    give(files)
    files.edit("openapi.yaml", "/api/v1/runs:", "/api/v2/runs:")
    contract = load_contract(files.folder, settings_of(files.folder))
    assert contract.by_id["headrace.service.admin.list_runs"].path == "/api/v2/runs"
    assert "/api/v1/runs" not in contract.document["paths"]


def test_components_of_one_name_stand_side_by_side(files: Files) -> None:
    give(files)
    files.edit("openapi.yaml", "  schemas:\n", "  schemas:\n    Counts:\n      type: string\n")
    document = read_contract(files.folder).data
    schemas = document["components"]["schemas"]
    assert schemas["Counts"] == {"type": "string"}
    assert schemas["HeadraceCounts"]["type"] == "object"
    swept = document["paths"]["/v1/cron/headrace/reap"]["get"]["responses"]["200"]["content"]["application/json"]
    assert swept["schema"] == {"$ref": "#/components/schemas/HeadraceCounts"}
    assert document["components"]["securitySchemes"]["cronCaller"] == {"type": "http", "scheme": "bearer"}
    assert "HeadracecronCaller" not in document["components"]["securitySchemes"]
    assert [fault for fault in faults_of(files) if fault.level is Level.ERROR] == []


def test_a_fault_of_what_joined_names_its_own_file_and_line(files: Files) -> None:
    give(files)
    files.edit("queue.yaml", "headraceQueue", "otherQueue")
    (fault,) = [each for each in faults_of(files) if each.level is Level.ERROR]
    assert "The queue headraceQueue of headrace.service.continuation.continue_split" in fault.message
    assert Path(fault.file).parts[-2:] == ("includes", "continuation.yaml")
    assert "x-task" in Path(fault.file).read_text().splitlines()[fault.line - 1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("[sweps]", "x-headrace: there is no sweps. Did you mean sweeps?"),
        ("[everything]", "there is no everything. There are admin, continuation, sweeps."),
        ("sweeps", "x-headrace is a list of some of admin, continuation, sweeps."),
    ],
)
def test_a_name_that_the_package_does_not_have_is_a_fault(files: Files, names: str, message: str) -> None:
    give(files, names)
    (fault,) = faults_of(files)
    assert message in fault.message
    assert "x-headrace" in (files.folder / "openapi.yaml").read_text().splitlines()[fault.line - 1] or fault.line > 1


@pytest.mark.parametrize("broken", ["paths: 3", "components: [1]", "components: {schemas: 3}"])
def test_nothing_joins_a_document_that_is_none(files: Files, broken: str) -> None:
    text = f"openapi: 3.1.0\ninfo: {{title: T, version: '1'}}\nx-headrace: [sweeps]\n{broken}\n"
    (files.folder / "openapi.yaml").write_text(text)
    assert read_contract(files.folder).data == yaml.safe_load(text)


def test_a_sweep_that_does_all_and_that_no_schedule_calls_is_one_warning(files: Files) -> None:
    give(files)
    (files.folder / "cron.yaml").write_text("cron: [{url: /v1/cron/countUsers, schedule: every day 23:00}]\n")
    warnings = [fault.message for fault in faults_of(files) if "calls" in fault.message]
    assert warnings == ["No entry of cron.yaml calls /v1/cron/headrace/sweep; see that some scheduler does."]


def test_the_four_sweeps_that_mend_do_as_well_as_the_one(files: Files) -> None:
    give(files)
    entries = [
        f"- {{url: /v1/cron/headrace/{name}, schedule: every 1 minutes}}\n"
        for name in ("relay", "reap", "reconcile", "resume")
    ]
    (files.folder / "cron.yaml").write_text("cron:\n" + "".join(entries))
    assert [fault for fault in faults_of(files) if "calls" in fault.message] == []


def test_check_prints_the_whole_document(files: Files) -> None:
    give(files)
    result = CliRunner().invoke(main, ["check", str(files.folder), "--print"])
    assert result.exit_code == 0
    assert yaml.safe_load(result.output) == read_contract(files.folder).data
    assert "/v1/cron/headrace/sweep" in yaml.safe_load(result.output)["paths"]
