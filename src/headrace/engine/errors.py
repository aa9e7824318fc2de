"""Errors of the engine, branches of the tree in `headrace.errors`.

HeadraceError
├── StoreUnavailable          a write could not be made durable; nothing of it was kept
├── StaleEpoch                another owner runs the queues now; nothing was written
└── PushFailed                a request got no answer that can be used
    ├── TargetTimedOut        no whole answer before the deadline
    ├── TargetForbidden       an address that pushes may not reach: no byte was sent
    ├── TargetUnreachable     no address, no route, refused, or TLS failed: no byte was sent
    ├── ConnectionDropped     bytes went out, and the connection closed before the whole answer
    └── MalformedResponse     what came is not HTTP/1.1
"""

from headrace.errors import HeadraceError


class StoreUnavailable(HeadraceError):
    """The store could not write (a full disk, a failing one); nothing of the request was kept."""

    code = "UNAVAILABLE"
    status = 503


class StaleEpoch(HeadraceError):
    """The caller's ownership of the queues has ended; its write was refused."""

    code = "ABORTED"
    status = 409


class PushFailed(HeadraceError):
    """A request got no answer that can be used."""

    code = "PUSH_FAILED"
    status = 504


class TargetTimedOut(PushFailed):
    """No whole answer came before the deadline."""

    code = "TARGET_TIMED_OUT"


class TargetUnreachable(PushFailed):
    """No connection came about, so no byte of the request was sent."""

    code = "TARGET_UNREACHABLE"


class TargetForbidden(PushFailed):
    """The target is at an address that the rules of the server keep pushes from."""

    code = "TARGET_FORBIDDEN"
    status = 403


class ConnectionDropped(PushFailed):
    """The connection closed after bytes of the request went out and before the whole answer came."""

    code = "CONNECTION_DROPPED"


class MalformedResponse(PushFailed):
    """The answer is not HTTP/1.1, or breaks the limits on its head."""

    code = "MALFORMED_RESPONSE"
    status = 502
