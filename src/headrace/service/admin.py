"""The admin API: what runs there are, how far each is, and what is set over the files."""

from collections.abc import Mapping
from typing import Any

from flask import request

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


def list_settings() -> dict[str, Any]:
    """The settings that may be overridden: value in force, the file's, and which of the two it is."""
    return {"settings": current_service().overrides.list()}


def put_setting() -> Mapping[str, Any]:
    """Override a setting, or clear the override with a null value; audited, in force from the next split.

    Raises NotFound and BadRequest.
    """
    asked = request.get_json()
    value = asked["value"]
    return current_service().overrides.put(asked["key"], None if value is None else str(value), actor="admin token")
