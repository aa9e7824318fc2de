"""A small application on disk: a job that splits numbers, and handlers that note, fail and push on."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

MODULE = "parcels_of_tests"
CODE = '''
import headrace

ordered = 5
failures = []
sent = []
deliveries = []


def ship(job):
    job.split(send, items=orders)


def orders(connection, after):
    return iter(range((after or 0) + 1, ordered + 1))


def send(batch):
    deliveries.append(batch.delivery)
    if failures:
        raise failures.pop(0)
    with batch.transaction():
        sent.extend(batch.items)


def announce(batch):
    """Pushes itself on until nothing is left to say."""
    sent.append(batch.payload["left"])
    with batch.transaction() as connection:
        if batch.payload["left"]:
            headrace.push(connection, announce, {"left": batch.payload["left"] - 1})
'''
CONTRACT = """
openapi: 3.1.0
info: {title: Parcels, version: 1.0.0}
paths:
  /v1/cron/ship:
    get:
      operationId: MODULE.ship
      security: &cron [{cronCaller: []}]
      x-job: {}
      responses: &any {default: {description: Any answer.}}
  /v1/cloudTask/send:
    post:
      operationId: MODULE.send
      security: [{taskQueue: []}]
      x-task: {queue: shipping, batch-size: 2, time-limit: 1m MORE}
      requestBody: {required: true, content: {application/json: {schema: {type: array, items: {type: integer}}}}}
      responses: *any
  /v1/cloudTask/announce:
    post:
      operationId: MODULE.announce
      security: [{taskQueue: []}]
      x-task: {queue: news, time-limit: 1m}
      requestBody: {required: true, content: {application/json: {schema: {type: object, required: [left]}}}}
      responses: *any
  /v1/cron/headrace/relay: {get: {operationId: headrace.service.sweeps.relay, security: *cron, responses: *any}}
  /v1/cron/headrace/reap: {get: {operationId: headrace.service.sweeps.reap, security: *cron, responses: *any}}
  /v1/cron/headrace/reconcile:
    get: {operationId: headrace.service.sweeps.reconcile, security: *cron, responses: *any}
  /v1/cron/headrace/resume: {get: {operationId: headrace.service.sweeps.resume, security: *cron, responses: *any}}
  /api/v1/runs/{run_id}:
    get:
      operationId: headrace.service.admin.show_run
      security: [{adminToken: []}]
      parameters: [{name: run_id, in: path, required: true, schema: {type: string}}]
      responses: *any
components:
  securitySchemes:
    cronCaller: {type: http, scheme: bearer}
    taskQueue: {type: http, scheme: bearer}
    adminToken: {type: http, scheme: bearer}
"""
QUEUES = """
queue:
- name: shipping
  rate: 500/s
  retry_parameters: {task_retry_limit: 3, min_backoff_seconds: 10, max_backoff_seconds: 10}
- {name: news, rate: 500/s, retry_parameters: {task_retry_limit: 1}}
"""
CRON = """
cron:
- {url: /v1/cron/ship, schedule: every day 06:00}
"""


def write_application(folder: Path, *, module: str = MODULE, task: str = "") -> Path:
    """The application in `folder`; `task` is more for the x-task of the handler that sends."""
    (folder / f"{module}.py").write_text(CODE)
    (folder / "openapi.yaml").write_text(CONTRACT.replace("MODULE", module).replace(" MORE", task))
    (folder / "queue.yaml").write_text(QUEUES)
    (folder / "cron.yaml").write_text(CRON)
    return folder


@pytest.fixture
def parcels(tmp_path: Path) -> Iterator[Any]:
    """The application's module, as new, with its `folder`."""
    folder = tmp_path / "parcels"
    folder.mkdir()
    write_application(folder)
    sys.path.insert(0, str(folder))
    module: ModuleType = importlib.import_module(MODULE)
    module.folder = folder  # type: ignore[attr-defined]
    yield module
    del sys.modules[MODULE]
    sys.path[:] = [path for path in sys.path if path != str(folder)]
