"""What an application's own endpoints tell of long-running work."""

from typing import Any

from headrace.service.current import operators


def operation(run_id: str, owner: str) -> dict[str, Any] | None:
    """A run that was pushed for `owner`, as an operation to ask after; None when it is not theirs, or not there.

    {id, state, result, error, created_at, ended_at}: state is QUEUED, PROCESSING, SUCCESS, ERROR or CANCELLED;
    result is what the handler returned, on SUCCESS; error says why not; times are RFC 3339 in UTC.
    """
    return operators().operations.show(run_id, owner)
