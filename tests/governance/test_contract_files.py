"""openapi.yaml, queue.yaml and cron.yaml fit together and with the code."""

from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from openapi_spec_validator import validate

from headrace.config import load_cron_file, load_queue_file
from headrace.contract.check import read_contract

APP = Path(__file__).resolve().parents[2]
CONTRACT: dict[str, Any] = read_contract(APP).data
OPERATIONS = {
    operation["operationId"]: (path, operation)
    for path, methods in CONTRACT["paths"].items()
    for operation in methods.values()
}


def test_the_contract_is_valid_openapi():
    validate(CONTRACT)


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_operation_is_a_function(operation_id: str):
    module, _, name = operation_id.rpartition(".")
    assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize(
    ("operation_id", "queue", "batch"),
    [
        ("handlers.access.synchronize_user_access", "synchronizeAccessQueue", 50),
        ("handlers.projects.audit_project_access", "auditProjectQueue", 20),
        ("handlers.directory.write_users", "directoryQueue", 1),
        ("handlers.directory.write_groups", "directoryQueue", 1),
        ("handlers.directory.write_memberships", "directoryQueue", 1),
        ("handlers.directory.delete_gone", "directoryQueue", 50),
        ("handlers.rdr.export_researchers", "rdrExportQueue", 10),
        ("handlers.rdr.export_workspaces", "rdrExportQueue", 10),
        ("handlers.workspaces.make_workspace", "createWorkspaceQueue", 1),
        ("handlers.requests.expire_request", "accessRequestQueue", 1),
        ("headrace.service.continuation.continue_split", "headraceQueue", 1),
    ],
)
def test_each_handler_has_its_queue_and_batch_size(operation_id: str, queue: str, batch: int):
    options = OPERATIONS[operation_id][1]["x-task"]
    assert (options["queue"], options["batch-size"]) == (queue, batch)


@pytest.mark.parametrize("environment", [None, "demo"])
def test_the_queues_are_exactly_those_of_the_handlers(environment: str | None):
    queues = load_queue_file(APP / "queue.yaml", environment).queues
    used = {op["x-task"]["queue"] for _, op in OPERATIONS.values() if "x-task" in op}
    assert {queue.name for queue in queues} == used


def test_the_demo_raises_one_queue_to_the_highest_rate_and_leaves_the_rest():
    demo, base = (
        {queue.name: queue for queue in load_queue_file(APP / "queue.yaml", env).queues} for env in ("demo", None)
    )
    fast = demo.pop("synchronizeAccessQueue")
    assert (fast.rate_per_second, fast.bucket_size, fast.max_concurrent_requests) == (500, 500, 12)
    slow = base.pop("synchronizeAccessQueue")
    assert (slow.rate_per_second, slow.bucket_size, slow.max_concurrent_requests) == (1, 500, 10)
    assert (slow.retry.limits.max_attempts, slow.retry.limits.max_duration) == (2, 300)
    assert fast.retry == slow.retry
    assert {name: queue.rate_per_second for name, queue in demo.items()} == {
        name: queue.rate_per_second for name, queue in base.items()
    }


def test_every_cron_operation_has_a_schedule_and_every_schedule_an_operation():
    scheduled = {urlsplit(entry.url).path for entry in load_cron_file(APP / "cron.yaml").entries}
    sweep = "/v1/cron/headrace/sweep"
    own = {path for path in CONTRACT["paths"] if path.startswith("/v1/cron/") and "/headrace/" not in path}
    assert scheduled == {*own, sweep}
    assert sweep in CONTRACT["paths"]


def test_every_path_under_the_guarded_prefixes_has_its_guard():
    for path, operation in OPERATIONS.values():
        guard = [name for each in operation["security"] for name in each]
        if path.startswith("/v1/cron/"):
            assert guard == ["cronCaller"]
        elif path.startswith("/v1/cloudTask/"):
            assert guard == ["taskQueue"]
        else:
            assert guard in (["adminToken"], ["userToken"])
