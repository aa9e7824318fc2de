"""Workspaces, as users ask for them. To make one takes a while, so the answer is an operation to ask after."""

from typing import Any

from flask import request

import headrace
from governance import workspaces
from handlers.workspaces import make_workspace
from headrace.errors import NotFound


def create_workspace() -> tuple[dict[str, Any], int]:
    """Begin to make a workspace for the caller; the operation."""
    owner = headrace.caller()
    with headrace.transaction() as connection:
        operation_id = workspaces.ask(connection, owner, request.get_json(), headrace.now())
        headrace.push(connection, make_workspace, {"operationId": operation_id}, owner=owner)
    return {"operationId": operation_id, "state": workspaces.QUEUED}, 202


def show_operation(operation_id: str) -> dict[str, Any]:
    """How far an operation of the caller's is, and the workspace that it made.

    Raises NotFound, for other people's operations as for those that never were.
    """
    with headrace.read() as connection:
        shown = workspaces.show(connection, operation_id, headrace.caller())
    if shown is None:
        raise NotFound("There is no such operation of yours.")
    return shown
