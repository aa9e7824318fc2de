"""A small application on disk: a request endpoint that pushes to a capped queue, and handlers that weigh and spawn."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.testing.service import ServiceUnderTest

MODULE = "harbour_of_tests"
NOW = 1_800_000_000.0
CODE = """
import headrace

crates = []
weighed = []


def put_crate():
    with headrace.transaction() as connection:
        return {"run_id": headrace.push(connection, store, {"crate": 1}).run_id}


def store(batch):
    weighed.append(batch.payload)


def weigh_all(job):
    job.split(weigh, lambda connection, after: iter(crates), key=crates.index)


def weigh(batch):
    weighed.append(batch.payload)


def unpack(batch):
    with batch.transaction() as connection:
        for number in range(batch.payload["crates"]):
            headrace.push(connection, store, {"crate": number})
"""
CONTRACT = """
openapi: 3.1.0
info: {title: Harbour, version: 1.0.0}
x-headrace: [sweeps, admin]
x-queues: {yard: CAP}
paths:
  /api/v1/crates:
    post: {operationId: MODULE.put_crate, security: [], responses: &any {default: {description: Any answer.}}}
  /v1/cron/weighAll:
    get: {operationId: MODULE.weigh_all, security: [{cronCaller: []}], x-job: {}, responses: *any}
  /v1/cloudTask/store:
    post:
      operationId: MODULE.store
      security: [{taskQueue: []}]
      x-task: {queue: yard}
      requestBody: {required: true, content: {application/json: {schema: {type: object, required: [crate]}}}}
      responses: *any
  /v1/cloudTask/weigh:
    post:
      operationId: MODULE.weigh
      security: [{taskQueue: []}]
      x-task: {queue: scales, batch-size: 100}
      requestBody: {required: true, content: {application/json: {schema: {type: array, items: {type: string}}}}}
      responses: *any
  /v1/cloudTask/unpack:
    post:
      operationId: MODULE.unpack
      security: [{taskQueue: []}]
      x-task: {queue: scales}
      requestBody: {required: true, content: {application/json: {schema: {type: object, required: [crates]}}}}
      responses: *any
components:
  securitySchemes:
    cronCaller: {type: http, scheme: bearer}
    taskQueue: {type: http, scheme: bearer}
    adminToken: {type: http, scheme: bearer}
"""
QUEUES = """
queue:
- {name: yard, rate: 500/s}
- {name: scales, rate: 500/s}
"""
CRON = """
cron:
- {url: /v1/cron/headrace/sweep, schedule: every 1 minutes}
"""


class Harbour:
    """The application's module, and services of it with caps of their own."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder, self._database_url = folder, database_url
        self._services: list[ServiceUnderTest] = []
        (folder / f"{MODULE}.py").write_text(CODE)
        (folder / "queue.yaml").write_text(QUEUES)
        (folder / "cron.yaml").write_text(CRON)
        self.code: Any = importlib.import_module(MODULE)

    def serve(self, cap: str = "{max-pending: 100}", **variables: str) -> ServiceUnderTest:
        """A service whose queue `yard` has this cap."""
        (self._folder / "openapi.yaml").write_text(CONTRACT.replace("MODULE", MODULE).replace("CAP", cap))
        service = ServiceUnderTest(
            self._folder, self._folder, now=NOW, database_url=self._database_url, variables=variables
        )
        self._services.append(service)
        return service

    def close(self) -> None:
        for service in self._services:
            service.close()


@pytest.fixture
def harbour(tmp_path: Path, database_url: str) -> Iterator[Harbour]:
    folder = tmp_path / "harbour"
    folder.mkdir()
    sys.path.insert(0, str(folder))
    harbour = Harbour(folder, database_url)
    yield harbour
    harbour.close()
    del sys.modules[MODULE]
    sys.path[:] = [path for path in sys.path if path != str(folder)]
