"""What is asked from outside how the service is: alive, ready, getting on with its work; its metrics."""

from collections.abc import Callable

from flask import Flask, Response, jsonify, request

from headrace.contract.guards import Guards
from headrace.errors import NotFound
from headrace.service.current import Service

METRICS = "/metrics"
PATHS = frozenset({"/healthz", "/readyz", "/healthz/progress", METRICS})
"""The routes that are no operations of the contract. All but the metrics are public."""
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def add_health(app: Flask, service: Service, guards: Guards) -> None:
    """Add the routes of `PATHS`."""

    def healthz() -> Response:
        return jsonify(status="alive")

    def readyz() -> Response:
        return _answer("ready", service.readiness.problem)

    def progress() -> Response:
        return _answer("moving", lambda: service.readiness.problem() or service.stall())

    def metrics() -> Response:
        guards.admit_metrics(request)
        if service.metrics is None:
            raise NotFound("This service keeps no metrics.")
        return Response(service.metrics(), content_type=_CONTENT_TYPE)

    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    app.add_url_rule("/healthz/progress", view_func=progress)
    app.add_url_rule(METRICS, view_func=metrics)


def _answer(well: str, find_problem: Callable[[], str | None]) -> Response:
    problem = find_problem()
    response = jsonify(status=well if problem is None else f"not {well}", reason=problem)
    response.status_code = 200 if problem is None else 503
    return response
