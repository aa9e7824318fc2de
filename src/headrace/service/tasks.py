"""The admin API of the list of tasks."""

from typing import Any

from flask import request

from headrace.database.states import DisplayState
from headrace.operators.tasks import Filters
from headrace.service.current import operator, operators


def list_batches(limit: int = 50, state: str | None = None, q: str | None = None, **filters: Any) -> dict[str, Any]:
    """Batches that match, the newest first, and where the next page begins."""
    wanted = Filters(None if state is None else DisplayState(state), query=q, **filters)
    return operators().tasks.list(wanted, limit=limit)


def cancel_batch(batch_id: int) -> None:
    """Cancel a batch that waits.

    Raises NotFound and WrongState.
    """
    operators().tasks.cancel(batch_id, actor=operator())


def retry_batches() -> dict[str, Any]:
    """Try the dead ones of some batches again."""
    return operators().tasks.retry_some(request.get_json()["batch_ids"], actor=operator())


def cancel_batches() -> dict[str, Any]:
    """Cancel those of some batches that wait."""
    return operators().tasks.cancel_some(request.get_json()["batch_ids"], actor=operator())


def discard_batches() -> dict[str, Any]:
    """Give up the dead ones of some batches."""
    return operators().tasks.discard_some(request.get_json()["batch_ids"], actor=operator())
