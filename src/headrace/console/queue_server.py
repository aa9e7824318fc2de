"""The console of a queue server alone: queues, tasks, deliveries, schedules, without a service.

It is a Flask application of its own, mounted at /console of the REST side.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hmac import compare_digest

from flask import Flask, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from headrace.clock import Clock
from headrace.console.access import Access, harden
from headrace.console.desk import ServerDesk
from headrace.console.job_pages import JobPages
from headrace.console.queue_pages import QueuePages
from headrace.console.queue_rows import Names
from headrace.console.sessions import Sessions
from headrace.console.site import BASE, Page, make_site
from headrace.errors import HeadraceError

PAGES = (
    Page("/queues", "Queues", "q"),
    Page("/schedules", "Schedules", "s"),
    Page("/audit", "Audit", "a"),
)
TOKEN_VARIABLE = "HEADRACE_QUEUE_SERVER_TOKEN"  # noqa: S105 - the name of a variable, not a secret
OPERATOR = "operator"
"""Whom the audit names where one logs in with the server's token."""
EVERYBODY = "this machine"
"""Whom it names where there is no token, and everybody on loopback may come in."""
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class QueueServer:
    """A queue server as its console sees it.

    `project` and `location` are its own: what is there goes by its id alone. `port` tells its cookie from those of
    other consoles on this machine: cookies know no ports. `status_of` gives the HTTP status of an error of the desk.
    """

    desk: ServerDesk
    clock: Clock
    project: str
    location: str
    port: int
    status_of: Callable[[HeadraceError], int]
    token: str | None = field(default=None, repr=False)


def make_console(server: QueueServer) -> Flask:
    """The application that serves /console."""
    app = Flask(__name__, static_folder=None)
    site = make_site(_make_access(server), server.clock, PAGES)
    names = Names(server.project, server.location)
    site.blueprint.add_url_rule("", "start", lambda: redirect(f"{BASE}/queues", code=303), methods=["GET"])
    QueuePages(server.desk, server.clock, names, lambda error: server.status_of(error) == _NOT_FOUND).register(site)
    JobPages(server.desk, names).register(site)
    app.register_blueprint(site.blueprint)
    app.after_request(harden)

    def refuse(error: HeadraceError) -> AnyResponse:
        values = {"error": error, "back": request.referrer or BASE}
        answer: Response = site.show("refused.html", values, server.status_of(error))
        return answer

    app.register_error_handler(HeadraceError, refuse)
    return app


def _make_access(server: QueueServer) -> Access:
    token = server.token

    def name_of(given: str) -> str | None:
        return OPERATOR if token is not None and compare_digest(given.encode(), token.encode()) else None

    return Access(
        BASE,
        Sessions(token or secrets.token_urlsafe(32)),
        name_of,
        cookie=f"headrace_queues_{server.port}",
        guest=EVERYBODY if token is None else None,
        token_variable=TOKEN_VARIABLE,
    )
