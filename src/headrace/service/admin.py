"""The admin API: what runs and batches there are, what is done to them by hand, and what is set over the files."""

from collections.abc import Mapping
from typing import Any

from flask import request

from headrace.database.audit_rows import AuditFilter
from headrace.errors import NotFound
from headrace.operators.dead_letters import Matching
from headrace.operators.decisions import Decision
from headrace.service.current import current_service, operator, operators


def list_runs(
    limit: int = 50, job: str | None = None, state: str | None = None, object: str | None = None
) -> dict[str, Any]:
    """The newest runs, at most `limit`: of one job, in one state, about one object, where these are given."""
    return {"runs": current_service().reader.list(limit, job, state, object)}


def show_run(run_id: str) -> Mapping[str, Any]:
    """One run with its steps and counts.

    Raises NotFound.
    """
    run = current_service().reader.show(run_id)
    if run is None:
        raise NotFound("There is no such run.", hint="GET /api/v1/runs lists them.")
    return run


def cancel_run(run_id: str) -> None:
    """Cancel a run, with the reason that the body may give.

    Raises NotFound and WrongState.
    """
    asked = request.get_json() if request.content_length else {}
    operators().cancelling.cancel(run_id, reason=asked.get("reason", ""), actor=operator())


def retry_run(run_id: str) -> dict[str, int]:
    """Try all dead batches of a run again.

    Raises NotFound and WrongState.
    """
    return {"retried": operators().dead_letters.retry_run(run_id, actor=operator())}


def list_dead(
    limit: int = 50, handler: str | None = None, cause: str | None = None, run_id: str | None = None
) -> dict[str, Any]:
    """The newest dead batches, at most `limit`, of those that match what is given."""
    return {"dead": operators().dead_letters.list(Matching(handler, cause, run_id), limit=limit)}


def retry_all_dead() -> dict[str, int]:
    """Try all dead batches again that match the body."""
    return {"retried": operators().dead_letters.retry_all(Matching(**request.get_json()), actor=operator())}


def discard_all_dead() -> dict[str, int]:
    """Give up all dead batches that match the body."""
    return {"discarded": operators().dead_letters.discard_all(Matching(**request.get_json()), actor=operator())}


def retry_dead(batch_id: int) -> None:
    """Try a dead batch again.

    Raises NotFound and WrongState.
    """
    operators().dead_letters.retry(batch_id, actor=operator())


def edit_dead(batch_id: int) -> None:
    """Give a dead batch the payload of the body, and try it again.

    Raises NotFound, WrongState and BadRequest.
    """
    operators().dead_letters.edit(batch_id, request.get_json()["payload"], actor=operator())


def discard_dead(batch_id: int) -> None:
    """Give up a dead batch.

    Raises NotFound and WrongState.
    """
    operators().dead_letters.discard(batch_id, actor=operator())


def list_decisions(limit: int = 50) -> dict[str, Any]:
    """The newest batches, at most `limit`, that wait for a person's decision."""
    return {"decisions": operators().decisions.list(limit=limit)}


def decide(batch_id: int) -> None:
    """Do with a batch what the body says.

    Raises NotFound and WrongState.
    """
    operators().decisions.decide(batch_id, Decision(request.get_json()["decision"]), actor=operator())


def list_settings() -> dict[str, Any]:
    """The settings that may be overridden: value in force, default, and what the value comes from."""
    return {"settings": current_service().overrides.list()}


def put_setting() -> Mapping[str, Any]:
    """Override a setting, or clear the override with a null value; audited.

    Raises NotFound and BadRequest.
    """
    asked = request.get_json()
    value = asked["value"]
    text = value if value is None or isinstance(value, str) else f"{value:.15g}"
    return current_service().overrides.put(asked["key"], text, actor=operator())


def list_audit(
    limit: int = 50,
    object: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    before: int | None = None,
) -> dict[str, Any]:
    """The newest rows of the audit, at most `limit`, that match what is given; `before` is the id of a row."""
    return {"audit": operators().audit(limit=limit, where=AuditFilter(actor, action, object, before))}
