"""The application factory: from a folder to a Flask application that serves its contract."""

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from headrace.clock import Clock, SharedClock, SystemClock
from headrace.config.settings import Settings, load_settings
from headrace.contract.answers import answer_errors
from headrace.contract.check import load_contract
from headrace.contract.guards import Guards
from headrace.contract.operations import Contract
from headrace.contract.principals import RootToken
from headrace.contract.tokens import Fetch, TokenVerifier, fetch_json
from headrace.contract.validation import Validation
from headrace.errors import BadRequest, ConfigError, ContractError, Fault
from headrace.observability import traces
from headrace.observability.logs import configure_logs
from headrace.service import health
from headrace.service.bindings import Bindings
from headrace.service.current import Service, install_service, service_of

CONSOLE = "/console"

Assemble = Callable[[Settings, Clock, Contract], Service]

_log = structlog.get_logger(__name__)


class Application(Flask):
    """A Flask application that serves what its contract declares, beside it its health, metrics and console alone."""

    def __init__(self, contract: Contract) -> None:
        super().__init__("headrace", static_folder=None, template_folder=None)
        self._declared = frozenset(_flask_path(each.path) for each in contract.operations) | health.PATHS

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself: no operation is asynchronous, and to look costs more than some do."""
        return func

    def add_url_rule(self, rule: str, *args: Any, **options: Any) -> None:
        """Add a route that the contract declares.

        Raises ContractError for any other, so that start-up fails instead of something standing open.
        """
        if rule not in self._declared and not rule.startswith(CONSOLE):
            message = f"The route {rule} is in the code, but not in openapi.yaml."
            raise ContractError([Fault("openapi.yaml", 0, 0, message)])
        super().add_url_rule(rule, *args, **options)


def create_app(
    folder: Path | str | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    assemble: Assemble | None = None,
    fetch: Fetch = fetch_json,
) -> Flask:
    """The service of the application in `folder`, or of HEADRACE_APP.

    `settings` are loaded from `environment` where they are not given. `assemble` puts the parts behind the
    contract together; `fetch` gets the token issuer's keys. Nothing is fetched, and no queue is asked, here.

    Raises ConfigError or ContractError with everything that is wrong.
    """
    if settings is None:
        settings = load_settings(environment, folder=Path(folder) if folder is not None else None)
    configure_logs(development=settings.development, project=settings.project)
    contract = load_contract(Path(folder) if folder is not None else settings.app, settings)
    clock = clock or _make_clock(settings)
    service = (assemble or _assemble)(settings, clock, contract)
    own = {} if service.queue is None else {service.queue.issuer: service.queue.fetch_keys}
    operators = service.tokens or RootToken(settings.admin_token)
    guards = Guards(settings, TokenVerifier(settings.token_issuer, clock, fetch, own), operators)

    app = Application(contract)
    app.config["MAX_CONTENT_LENGTH"] = settings.body_limit
    install_service(app, service)
    answer_errors(app)
    _log_requests(app)
    app.before_request(_refuse_nul)
    _add_operations(app, contract, Bindings(service, guards, Validation(contract)))
    health.add_health(app, service, guards)
    if service.operators is not None:
        # Imported here: the console stands on the service.
        from headrace.console.service import mount

        mount(app, service)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app


def _make_clock(settings: Settings) -> Clock:
    if settings.test_clock is None:
        return SystemClock()
    try:
        return SharedClock(settings.test_clock)
    except (OSError, ValueError) as error:
        raise ConfigError([Fault("environment", 0, 0, f"HEADRACE_TEST_CLOCK: {error}")]) from error


def _assemble(settings: Settings, clock: Clock, contract: Contract) -> Service:
    # Imported here: a caller that brings parts of its own needs no database.
    from headrace.service.assembly import assemble

    return assemble(settings, clock, contract)


def _add_operations(app: Flask, contract: Contract, bindings: Bindings) -> None:
    for operation in contract.operations:
        app.add_url_rule(
            _flask_path(operation.path),
            endpoint=operation.operation_id,
            view_func=bindings.view_of(operation),
            methods=[operation.method],
            # OPTIONS is a method like any other: what does not declare it does not answer it.
            provide_automatic_options=False,
        )


def _refuse_nul() -> None:
    """No value of an address may have a NUL, which PostgreSQL keeps nowhere."""
    if b"%00" in request.query_string or "\0" in request.path:
        raise BadRequest("The address has a NUL character.", hint="Leave out %00.")


def _flask_path(path: str) -> str:
    return re.sub(r"{(\w+)}", r"<\1>", path)


def _log_requests(app: Flask) -> None:
    """One line a request, with what was bound while it ran."""

    def begin() -> None:
        structlog.contextvars.clear_contextvars()
        trace = traces.begin(request.headers.get(traces.HEADER))
        structlog.contextvars.bind_contextvars(operation=request.endpoint, trace=trace)
        g.started = time.perf_counter()

    def end(response: Response) -> Response:
        service_of(app).after_request()
        duration = round((time.perf_counter() - g.started) * 1000, 2)
        _log.info("request", status=response.status_code, duration_ms=duration)
        return response

    app.before_request(begin)
    app.after_request(end)
