"""The service with probes at every point where state changes; also gunicorn's settings, which are the product's own.

Points are before and after: each commit that wrote, each push to a queue, each request to others that is no GET, the
work behind each endpoint, and its answer.
"""

import os
from collections.abc import Iterable
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Imported before gunicorn forks.
import google.cloud.tasks_v2  # noqa: F401
from flask import Flask
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.pool import PoolProxiedConnection
from werkzeug.wsgi import ClosingIterator

from headrace.drivers.base import Push, PushResult
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.execution import items
from headrace.runs.policy import RunPolicy
from headrace.service import assembly, create_app
from headrace.service.gunicorn_conf import *  # noqa: F403
from tests.faults.points import Points

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# A worker that takes the place of a killed one is there at once.
preload_app = True

_CHANGES_SEEN = "changes_seen"


def create_probed_app() -> Flask:
    """The application of HEADRACE_APP, with its points in the folder that FAULT_POINTS names."""
    points = Points(Path(os.environ["FAULT_POINTS"]))
    # So short that even a small job can be killed between two of them.
    assembly.RunPolicy = partial(RunPolicy, chunk_batches=1)  # type: ignore[attr-defined, assignment]
    items._CHUNK_ITEMS = 1
    _probe_commits(points)
    _probe_pushes(points)
    _probe_requests(points)
    app = create_app()
    app.wsgi_app = _probed(app.wsgi_app, points)  # type: ignore[method-assign, assignment]
    return app


def _probe_commits(points: Points) -> None:
    commit: Any = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, connection: PoolProxiedConnection) -> None:
        if not _has_written(self.name, connection):
            commit(self, connection)
            return
        points.reach("before the commit")
        commit(self, connection)
        points.reach("after the commit")

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


def _has_written(dialect: str, connection: Any) -> bool:
    """Whether the transaction has changed anything, by what the database itself says."""
    if dialect == "sqlite":
        before = connection.info.get(_CHANGES_SEEN, 0)
        connection.info[_CHANGES_SEEN] = connection.total_changes
        return bool(connection.total_changes > before)
    (written,) = connection.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()
    return bool(written)


def _probe_pushes(points: Points) -> None:
    push_many = CloudTasksDriver.push_many

    def probed(self: CloudTasksDriver, pushes: list[Push]) -> list[PushResult]:
        points.reach("before the push")
        results = push_many(self, pushes)
        points.reach("after the push")
        return results

    CloudTasksDriver.push_many = probed  # type: ignore[method-assign, assignment]


def _probe_requests(points: Points) -> None:
    request, getresponse = HTTPConnection.request, HTTPConnection.getresponse

    def probed_request(self: HTTPConnection, method: str, *arguments: Any, **options: Any) -> None:
        if method != "GET":
            points.reach("before the request")
        request(self, method, *arguments, **options)

    def probed_response(self: HTTPConnection) -> HTTPResponse:
        response = getresponse(self)
        if response._method != "GET":  # type: ignore[attr-defined]
            points.reach("after the request")
        return response

    HTTPConnection.request = probed_request  # type: ignore[method-assign]
    HTTPConnection.getresponse = probed_response  # type: ignore[method-assign]


def _probed(application: "WSGIApplication", points: Points) -> "WSGIApplication":
    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        points.serve(path)
        if path == "/healthz":
            return application(environ, start_response)
        points.reach("before the work")
        body = application(environ, start_response)
        points.reach("before the answer")
        # The server closes what it has sent.
        return ClosingIterator(body, lambda: points.reach("after the answer"))

    return answer
