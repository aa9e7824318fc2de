"""Access requests, as users make and decide them."""

from typing import Any

from flask import request
from sqlalchemy import Connection

import headrace
from governance import access_requests
from governance.access_requests import Request
from handlers.requests import expire_request
from headrace.errors import Forbidden, NotFound, WrongState


def create_request() -> tuple[dict[str, Any], int]:
    """Ask for access for some hours."""
    asked = request.get_json()
    with headrace.transaction() as connection:
        caller = headrace.caller()
        request_id = access_requests.ask(connection, caller, asked["reason"], asked["hours"], headrace.now())
    return {"requestId": request_id, "state": access_requests.PENDING}, 201


def approve_request(request_id: int) -> dict[str, Any]:
    """Give the access at once, and see that it ends by itself."""
    with headrace.transaction() as connection:
        found = _find(connection, request_id)
        if not access_requests.may_decide(connection, headrace.caller(), found):
            raise Forbidden("Only an approver may do this, and nobody for a request of one's own.")
        expires_at = access_requests.approve(connection, found, headrace.caller(), headrace.now())
        if expires_at is None:
            raise WrongState(f"The request is {found.state}, not pending.")
        pushed = headrace.push(connection, expire_request, {"requestId": request_id}, at=expires_at)
        access_requests.expire_by(connection, request_id, pushed.run_id)
    return {"requestId": request_id, "state": access_requests.APPROVED}


def revoke_request(request_id: int) -> dict[str, Any]:
    """Take the access before its time."""
    with headrace.transaction() as connection:
        found = _find(connection, request_id)
        caller = headrace.caller()
        if caller != found.requester and not access_requests.may_decide(connection, caller, found):
            raise Forbidden("Only an approver may do this, or who asked for the access.")
        if not access_requests.end(connection, request_id, access_requests.REVOKED):
            raise WrongState(f"The request is {found.state}, not approved.")
        if found.expiry_run is not None:
            headrace.cancel(connection, found.expiry_run, "revoked early")
    return {"requestId": request_id, "state": access_requests.REVOKED}


def _find(connection: Connection, request_id: int) -> Request:
    found = access_requests.find(connection, request_id)
    if found is None:
        raise NotFound("There is no such access request.")
    return found
