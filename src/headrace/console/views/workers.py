"""Workers: what executes tasks, and what keeps it from doing so."""

from typing import Any

from flask import request

from headrace.console.access import actor
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.operators.workers import Workers
from headrace.runs.definitions import TASK_INLINE_MAX_CONCURRENT
from headrace.service.current import current_service


def register(site: Site) -> None:
    """Add the page of workers."""
    site.page("/workers", show_workers)
    site.action("/workers", set_concurrency, needs=Permission.SETTINGS)


def show_workers() -> tuple[str, dict[str, Any]]:
    """Modes and caps as cards, agents and pools as tables, and hints that apply now."""
    workers = _workers()
    situation = workers.situation()
    return "workers.html", {
        "workers": workers.show(),
        "hints": workers.hints(situation),
        "outdated": workers.outdated(),
        "situation": situation,
    }


def set_concurrency() -> str:
    """Cap the attempts that the service executes at once."""
    value = request.form.get("value", "").strip()
    current_service().overrides.put(TASK_INLINE_MAX_CONCURRENT, value, actor=actor())
    return "/workers"


def _workers() -> Workers:
    workers = current_service().workers
    if workers is None:
        raise RuntimeError("This service was put together without a database.")
    return workers
