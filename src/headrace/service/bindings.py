"""From operations to Flask views: guard, read, call what the kind asks for, answer."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from flask import Response, current_app, jsonify, request
from werkzeug.exceptions import MethodNotAllowed

from headrace.config.settings import Platform
from headrace.contract.guards import Guards
from headrace.contract.operations import Kind, Operation
from headrace.contract.validation import Reading, Validation
from headrace.errors import BadRequest
from headrace.execution.delivery import read_delivery
from headrace.runs.firings import Call
from headrace.runs.relay import CLAIM_HEADER
from headrace.service.continuation import CONTINUATION
from headrace.service.current import Service

SCHEDULE_TIME_HEADER = "X-CloudScheduler-ScheduleTime"
JOB_NAME_HEADER = "X-CloudScheduler-JobName"

View = Callable[..., Response]
_Adaptor = Callable[[Operation, Reading], Response]


class Bindings:
    """Makes the view of each operation of one service."""

    def __init__(self, service: Service, guards: Guards, validation: Validation) -> None:
        self._service = service
        self._guards = guards
        self._validation = validation
        self._adaptors: dict[Kind, _Adaptor] = {
            Kind.JOB: self._start_job,
            Kind.SWEEP: self._call,
            Kind.HANDLER: self._deliver,
            Kind.REQUEST: self._call,
        }

    def view_of(self, operation: Operation) -> View:
        """The view that answers requests for `operation`; path values are read from the request."""
        adaptor = self._adaptors[operation.kind]
        strict = self._service.settings.strict

        def view(**_path_values: Any) -> Response:
            # Flask answers HEAD wherever there is GET, but a job is not started to look at its headers.
            if request.method != operation.method:
                raise MethodNotAllowed([operation.method])
            self._guards.admit(operation, request)
            if operation.kind is Kind.HANDLER:
                self._service.admit_batch()
            response = adaptor(operation, self._validation.read(operation, request, self._claimed(operation)))
            if strict:
                self._validation.check_response(operation, request, response)
            return response

        return view

    def _start_job(self, operation: Operation, reading: Reading) -> Response:
        structlog.contextvars.bind_contextvars(job=operation.operation_id)
        answer = self._service.firings.call(operation, reading.parameters, self._read_call())
        if answer is None:
            return _no_content()
        structlog.contextvars.bind_contextvars(run_id=answer.run_id)
        if "return=representation" in request.headers.get("Prefer", "").replace(" ", "").lower():
            response = jsonify(
                run_id=answer.run_id,
                state=answer.state,
                tasks=answer.tasks,
                items=answer.items,
                reason=answer.reason,
            )
        else:
            response = _no_content()
        response.headers["X-Run-Id"] = answer.run_id
        response.headers["X-Run-State"] = answer.state
        return response

    def _read_call(self) -> Call:
        scheduled = request.headers.get(SCHEDULE_TIME_HEADER)
        at = None if scheduled is None else _read_time(scheduled)
        if at is None and self._service.settings.platform is Platform.APP_ENGINE:
            # App Engine's cron names no time, and lets nobody else call with its header.
            at = self._service.clock.now()
        url = f"{request.path}?{request.query_string.decode()}"
        return Call(url, at, request.headers.get(JOB_NAME_HEADER, ""))

    def _claimed(self, operation: Operation) -> bytes | None:
        """The body that a push left behind in the database, when it carries a ticket."""
        if operation.kind is not Kind.HANDLER or CLAIM_HEADER not in request.headers:
            return None
        return self._service.batches.claimed(read_delivery(request.headers.get))

    def _deliver(self, operation: Operation, reading: Reading) -> Response:
        if operation.operation_id == CONTINUATION:
            # It has no record of its own: the run that it goes on with has one.
            self._service.jobs.resume(reading.body["run_id"])
            return _no_content()
        delivery = read_delivery(request.headers.get)
        structlog.contextvars.bind_contextvars(queue=delivery.queue, task=delivery.task_name)
        # An empty batch is done before it begins; there is nothing that a record of it could tell.
        if operation.payload is None or reading.body not in (None, []):
            self._service.batches.deliver(operation, reading.body, delivery, reading.parameters)
        return _no_content()

    def _call(self, operation: Operation, reading: Reading) -> Response:
        answer = operation.function(**reading.parameters)
        return _no_content() if answer is None else current_app.make_response(answer)


def _no_content() -> Response:
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def _read_time(text: str) -> float:
    """Epoch seconds of an RFC 3339 time. Raises BadRequest."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise BadRequest(f"The header {SCHEDULE_TIME_HEADER} is no time in RFC 3339.") from error
