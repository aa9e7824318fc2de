"""The admin API: what runs there are, and how far each is."""

from collections.abc import Mapping
from typing import Any

from headrace.errors import NotFound
from headrace.service.current import current_service


def list_runs(limit: int = 50, job: str | None = None, state: str | None = None) -> dict[str, Any]:
    """The newest runs, at most `limit`, of one job or in one state where these are given."""
    return {"runs": current_service().reader.list(limit, job, state)}


def show_run(run_id: str) -> Mapping[str, Any]:
    """One run with its steps and counts.

    Raises NotFound.
    """
    run = current_service().reader.show(run_id)
    if run is None:
        raise NotFound("There is no such run.", hint="GET /api/v1/runs lists them.")
    return run
