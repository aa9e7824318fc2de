"""The admin API of what executes tasks."""

from typing import Any

from headrace.operators.workers import Workers
from headrace.service.current import current_service


def show_workers() -> dict[str, Any]:
    """Modes, caps, version, agents and pools."""
    return _workers().show()


def list_hints() -> dict[str, Any]:
    """What keeps tasks from being executed now, with its cause and its fix."""
    return {"hints": _workers().hints()}


def _workers() -> Workers:
    workers = current_service().workers
    if workers is None:
        raise RuntimeError("This service was put together without a database.")
    return workers
