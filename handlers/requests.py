"""Ends access that was given for a time."""

from governance import access_requests
from headrace import Batch


def expire_request(batch: Batch) -> None:
    """Take the access whose time is up; nothing is done where it has ended already."""
    (request,) = batch.items
    with batch.transaction(completes=True) as connection:
        access_requests.end(connection, request["request_id"], access_requests.EXPIRED)
