"""What the contract costs a request, and how soon a new process answers: `python -m bench.contract`, < 30 s.

Costs are CPU time of this process above a bare Flask view that decodes the same body, over many requests made in
memory. The rows of openapi-core's own Flask decorator are there to compare with.
"""

import http.client
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, request
from openapi_core import Config, OpenAPI
from openapi_core.contrib.flask.decorators import FlaskOpenAPIViewDecorator
from werkzeug.test import EnvironBuilder

from bench.rows import Row, print_rows
from headrace.contract.document import read_document
from headrace.contract.operations import Contract
from headrace.contract.reading import read_operations
from headrace.contract.schemas import Schemas
from headrace.contract.validation import Validation

ROUNDS = 7
BODY = orjson.dumps(list(range(1_000_000, 1_000_100)))

OPENAPI = """\
openapi: 3.1.0
info: {title: Bench, version: '1'}
paths:
  /v1/cloudTask/work:
    post:
      operationId: bench.contract.work
      security: [{taskQueue: []}]
      x-task: {queue: workQueue}
      PARAMETERS
      requestBody:
        required: true
        content: {application/json: {schema: {type: array, items: {type: integer, format: int64}}}}
      responses: {'204': {description: Done.}}
components: {securitySchemes: {taskQueue: {type: http, scheme: bearer}}}
"""
PARAMETER = "parameters: [{name: backfill, in: query, schema: {type: boolean, default: false}}]"

View = Callable[[], tuple[str, int]]


def work(_batch: object, backfill: bool = False) -> None:
    """The handler that the contract of this bench is bound to; it is never called."""
    raise AssertionError(backfill)


def rows() -> list[Row]:
    """The rows of this bench."""
    with tempfile.TemporaryDirectory() as folder:
        contract = _contract(Path(folder), "")
        with_parameter = _contract(Path(folder), PARAMETER)
        bare = _cost(_bare, 300)
        ours = _cost(_ours(contract, responses=False), 300) - bare
        parameter = _cost(_ours(with_parameter, responses=False), 300) - bare
        strict = _cost(_ours(contract, responses=True), 300) - bare
        stock = _cost(_stock(contract), 40) - bare
        first = _first_answer(Path(folder))
    note = "CPU a request above bare Flask"
    return [
        Row("a bare Flask view with a 100-id body", bare, "µs"),
        Row("validation of a 100-id body", ours, "µs", 400, note=note),
        Row("… with a query parameter", parameter, "µs", 400, note=note),
        Row("… and the response, as in strict mode", strict, "µs", note=note),
        Row("openapi-core's Flask decorator, 100-id body", stock, "µs", note=note),
        Row("first request answered after start of gunicorn", first, "s", 1.0, note="best of 3 cold processes"),
    ]


def _contract(folder: Path, parameters: str) -> Contract:
    path = folder / "openapi.yaml"
    path.write_text(OPENAPI.replace("PARAMETERS", parameters))
    document = read_document(path)
    return Contract(read_operations(document).operations, {}, document.data, Schemas(document.data))


def _bare() -> tuple[str, int]:
    orjson.loads(request.get_data())
    return "", 204


def _ours(contract: Contract, *, responses: bool) -> View:
    validation = Validation(contract)
    (operation,) = contract.operations

    def view() -> tuple[str, int]:
        validation.read(operation, request)
        if responses:
            validation.check_response(operation, request, Flask.response_class(status=204))
        return "", 204

    return view


def _stock(contract: Contract) -> View:
    logging.getLogger("openapi_core").setLevel(logging.ERROR)
    document = {**contract.document, "components": {}}
    for item in document["paths"].values():
        item["post"].pop("security", None)
    openapi = OpenAPI.from_dict(document, config=Config())
    view: View = FlaskOpenAPIViewDecorator(openapi)(_bare)
    return view


def _cost(view: View, requests: int) -> float:
    """Microseconds of CPU that one request takes, in the fastest of some rounds."""
    app = Flask("bench")
    app.add_url_rule("/v1/cloudTask/work", view_func=view, endpoint="work", methods=["POST"])
    return min(_round(app, requests) for _ in range(ROUNDS)) * 1e6


def _round(app: Flask, requests: int) -> float:
    environments = [_environment() for _ in range(requests)]
    statuses: list[str] = []

    def start_response(status: str, _headers: Any, _error: Any = None) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda _written: None

    begun = time.process_time()
    for environment in environments:
        list(app.wsgi_app(environment, start_response))
    spent = time.process_time() - begun
    assert set(statuses) == {"204 NO CONTENT"}, set(statuses)
    return spent / requests


def _environment() -> dict[str, Any]:
    builder = EnvironBuilder(path="/v1/cloudTask/work", method="POST", data=BODY, content_type="application/json")
    return dict(builder.get_environ())


def _first_answer(folder: Path) -> float:
    """Seconds from the start of gunicorn to its first answer, in the fastest of three processes."""
    (folder / "openapi.yaml").write_text("openapi: 3.1.0\ninfo: {title: Bench, version: '1'}\npaths: {}\n")
    return min(_cold_process(folder) for _ in range(3))


def _cold_process(folder: Path) -> float:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment: Mapping[str, str] = {**os.environ, "PORT": str(port), "HEADRACE_APP": str(folder)}
    command = ["-m", "gunicorn", "-c", "python:headrace.service.gunicorn_conf", "headrace.service:create_app()"]
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for_answer(port, begun + 20)
            return time.perf_counter() - begun
        finally:
            process.terminate()


def _wait_for_answer(port: int, until: float) -> None:
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        except ConnectionError:
            if time.perf_counter() > until:
                raise
            time.sleep(0.002)
        else:
            return
        finally:
            connection.close()


if __name__ == "__main__":
    print_rows(rows())
