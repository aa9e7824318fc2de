"""Dead letters: what no attempt will do any more, unless somebody says so."""

from typing import Any

from flask import request

from headrace.console.access import actor
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.database.states import Cause
from headrace.operators.dead_letters import Matching
from headrace.service.current import current_service, operators

PER_PAGE = 100


def register(site: Site) -> None:
    """Add the page of dead letters."""
    site.page("/dead", list_dead)
    site.action("/dead/retry", retry_all, needs=Permission.RETRY_TASK)
    site.action("/dead/discard", discard_all, needs=Permission.PURGE)


def list_dead() -> tuple[str, dict[str, Any]]:
    """The newest dead batches, narrowed by handler and cause."""
    handler, cause = request.args.get("handler", ""), request.args.get("cause", "")
    cause = cause if cause in set(Cause) else ""
    dead = operators().dead_letters.list(Matching(handler or None, cause or None, None), limit=PER_PAGE)
    handlers = [each.operation_id for each in current_service().contract.operations if each.task]
    return "dead.html", {
        "dead": dead,
        "handler": handler,
        "cause": cause,
        "handlers": handlers,
        "causes": [each.value for each in Cause],
        "limit": PER_PAGE,
    }


def retry_all() -> str:
    """Try all again that match the form."""
    operators().dead_letters.retry_all(_matching(), actor=actor())
    return "/dead"


def discard_all() -> str:
    """Give up all that match the form."""
    operators().dead_letters.discard_all(_matching(), actor=actor())
    return "/dead"


def _matching() -> Matching:
    form = request.form
    return Matching(form.get("handler") or None, form.get("cause") or None, None)
