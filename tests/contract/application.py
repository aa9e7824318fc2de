"""A small application written to a folder, and stand-ins for the rooms behind its service."""

import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from headrace.clock import Clock, ManualClock
from headrace.config.settings import Settings, load_settings
from headrace.contract import Contract, Operation
from headrace.contract.tokens import KeysUnavailable
from headrace.execution.delivery import Delivery
from headrace.runs.firings import Call
from headrace.service import create_app
from headrace.service.current import Service

NOW = 1_790_000_000.0

# Module names are taken once in a process, so every folder gets names of its own.
_numbers = itertools.count(1)

OPENAPI = """\
openapi: 3.1.0
info: {title: Test application, version: '1'}
paths:
  /v1/cron/countUsers:
    get:
      operationId: MODULE.count_users
      security: [{cronCaller: []}]
      x-job: {overlap: skip, time-limit: 50s}
      parameters:
        - {name: backfill, in: query, schema: {type: boolean, default: false}}
      responses: {'200': {$ref: '#/components/responses/Anything'}, '204': {description: Started.}}
  /v1/cron/headrace/relay:
    get: &sweep
      operationId: headrace.service.sweeps.relay
      security: [{cronCaller: []}]
      responses: {'204': {description: Swept.}}
  /v1/cron/headrace/reap:
    get: {<<SWEEP>>: reap}
  /v1/cron/headrace/reconcile:
    get: {<<SWEEP>>: reconcile}
  /v1/cron/headrace/resume:
    get: {<<SWEEP>>: resume}
  /v1/cloudTask/synchronizeUsers:
    post:
      operationId: MODULE.synchronize_users
      security: [{taskQueue: []}]
      x-task: {queue: usersQueue, batch-size: 50, time-limit: 5m}
      parameters:
        - {name: backfill, in: query, schema: {type: boolean, default: false}}
      requestBody: {$ref: '#/components/requestBodies/UserIds'}
      responses: {'204': {description: Done.}}
  /v1/cloudTask/processEvent:
    post:
      operationId: MODULE.process_event
      security: [{taskQueue: []}]
      x-task: {queue: eventsQueue, schema: MODULE.Event}
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: '#/components/schemas/Event'}}}
      responses: {'204': {description: Done.}}
  /api/v1/things/{thing_id}:
    get:
      operationId: MODULE.show_thing
      security: []
      parameters:
        - {name: thing_id, in: path, required: true, schema: {type: integer, format: int64}}
        - {name: status, in: query, schema: {type: integer}}
      responses: {'200': {$ref: '#/components/responses/Anything'}}
  /api/v1/runs:
    get:
      operationId: headrace.service.admin.list_runs
      security: [{adminToken: []}]
      parameters:
        - {name: limit, in: query, schema: {type: integer, minimum: 1, maximum: 500}}
        - {name: job, in: query, schema: {type: string}}
        - {name: state, in: query, schema: {type: string}}
      responses: {'200': {$ref: '#/components/responses/Anything'}}
  /api/v1/runs/{run_id}:
    get:
      operationId: headrace.service.admin.show_run
      security: [{adminToken: []}]
      parameters: [{name: run_id, in: path, required: true, schema: {type: string}}]
      responses: {'200': {$ref: '#/components/responses/Anything'}}
components:
  securitySchemes:
    cronCaller: {type: http, scheme: bearer}
    taskQueue: {type: http, scheme: bearer}
    adminToken: {type: http, scheme: bearer}
  requestBodies:
    UserIds:
      required: true
      content:
        application/json:
          schema: {oneOf: [{$ref: '#/components/schemas/UserIds'}, {type: 'null'}]}
  responses:
    Anything: {description: A JSON object., content: {application/json: {schema: {type: object}}}}
  schemas:
    UserIds: {type: array, items: {type: integer, format: int64}}
    Event:
      type: object
      additionalProperties: false
      required: [eventId]
      properties:
        eventId: {type: integer, minimum: 1}
        kind: {type: string, enum: [pd-ssd, pd-standard]}
"""

QUEUES = """\
queue:
- name: usersQueue
  rate: 10/s
- name: eventsQueue
  rate: 1/s
"""

CRONS = """\
cron:
- url: /v1/cron/countUsers
  schedule: every day 23:00
- {url: /v1/cron/headrace/relay, schedule: every 1 minutes}
- {url: /v1/cron/headrace/reap, schedule: every 1 minutes}
- {url: /v1/cron/headrace/reconcile, schedule: every 5 minutes}
- {url: /v1/cron/headrace/resume, schedule: every 1 minutes}
"""

CODE = """\
from enum import Enum

from flask import jsonify
from marshmallow import Schema, fields, validate


class Disk(Enum):
    SSD = "pd-ssd"
    STANDARD = "pd-standard"


class Event(Schema):
    event_id = fields.Integer(data_key="eventId", required=True, validate=validate.Range(min=1))
    kind = fields.Enum(Disk, by_value=True)


def count_users(job, backfill): ...


def synchronize_users(batch, backfill): ...


def process_event(batch): ...


def show_thing(thing_id, status=200):
    if thing_id == 500:
        raise ValueError("the password is swordfish")
    return jsonify(thing_id=thing_id), status
"""


@dataclass(frozen=True)
class Files:
    """The folder of an application; `module` is the name of its one module."""

    folder: Path
    module: str

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that must be there; MODULE stands for the module's name."""
        path = self.folder / file.replace("MODULE", self.module)
        text = path.read_text()
        old, new = (each.replace("MODULE", self.module) for each in (old, new))
        assert old in text
        path.write_text(text.replace(old, new))

    def line_of(self, file: str, text: str) -> int:
        """The line of a file in which a text first stands."""
        lines = (self.folder / file).read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if text.replace("MODULE", self.module) in line)


def write_application(folder: Path) -> Files:
    """Write an application that fits together."""
    module = f"application_{next(_numbers)}_of_tests"
    sweep = "security: [{cronCaller: []}], responses: {'204': {description: Swept.}}, operationId"
    openapi = OPENAPI.replace("MODULE", module).replace(": &sweep", ":")
    for name in ("reap", "reconcile", "resume"):
        openapi = openapi.replace(f"{{<<SWEEP>>: {name}}}", f"{{{sweep}: headrace.service.sweeps.{name}}}")
    (folder / "openapi.yaml").write_text(openapi)
    (folder / "queue.yaml").write_text(QUEUES)
    (folder / "cron.yaml").write_text(CRONS)
    (folder / f"{module}.py").write_text(textwrap.dedent(CODE))
    return Files(folder, module)


@dataclass(frozen=True)
class Answer:
    """What the stand-in for runs says of a start."""

    run_id: str = "run-1"
    state: str = "running"
    tasks: int = 2
    items: int = 70
    reason: str = ""


@dataclass
class Rooms:
    """Stands in for runs, execution, sweeps and the reader; keeps what it was asked, raises what it is told to."""

    error: Exception | None = None
    problem_found: str | None = None
    stalled: str | None = None
    due: bool = True
    started: list[tuple[str, dict[str, Any], Call]] = field(default_factory=list)
    delivered: list[tuple[str, Any, Delivery, dict[str, Any]]] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)

    def call(self, operation: Operation, parameters: dict[str, Any], call: Call) -> Answer | None:
        self._raise()
        self.started.append((operation.operation_id, parameters, call))
        return Answer() if self.due else None

    def deliver(self, operation: Operation, payload: Any, delivery: Delivery, parameters: dict[str, Any]) -> None:
        self._raise()
        self.delivered.append((operation.operation_id, payload, delivery, parameters))

    def relay(self) -> None:
        self.swept.append("relay")

    def reap(self) -> None:
        self.swept.append("reap")

    def reconcile(self) -> None:
        self.swept.append("reconcile")

    def resume(self) -> None:
        self.swept.append("resume")

    def purge(self) -> None:
        self.swept.append("purge")

    def show(self, run_id: str) -> Mapping[str, Any] | None:
        return {"run_id": run_id} if run_id == "run-1" else None

    def list(
        self, limit: int, job: str | None, state: str | None, object: str | None = None
    ) -> list[Mapping[str, Any]]:
        return [{"limit": limit, "job": job, "state": state}]

    def push(self, connection: Any, handler: Any, payload: Any, *, key: str | None = None) -> str:
        raise AssertionError("nothing of these tests pushes")

    def problem(self) -> str | None:
        return self.problem_found

    def assemble(self, settings: Settings, clock: Clock, contract: Contract) -> Service:
        rooms = (self,) * 9
        return Service(settings, clock, contract, *rooms, stall=lambda: self.stalled, metrics=lambda: b"")

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass(frozen=True)
class Running:
    """An application that serves, in this process."""

    files: Files
    app: Flask
    rooms: Rooms
    clock: ManualClock

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()


def settings_of(folder: Path, **variables: str) -> Settings:
    """Development settings with an admin token, and any other variables."""
    return load_settings({"HEADRACE_ADMIN_TOKEN": "the-admin-token", **variables}, folder=folder)


def no_keys(url: str) -> Mapping[str, Any]:
    """Fetches nothing: for tests in which no token should get so far."""
    raise KeysUnavailable(f"{url} is not to be asked here")


def run_application(files: Files, fetch: Any = no_keys, **variables: str) -> Running:
    """Make the Flask application of a folder."""
    rooms, clock = Rooms(), ManualClock(NOW)
    settings = settings_of(files.folder, **variables)
    app = create_app(files.folder, settings, clock, assemble=rooms.assemble, fetch=fetch)
    return Running(files, app, rooms, clock)
