"""The google.rpc code that an attempt shows for the HTTP status of its answer."""

from headrace.cloud.errors import Code

_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ALREADY_EXISTS,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


def code_of(status: int) -> Code:
    """OK for 2xx, UNKNOWN for what has no code of its own."""
    return Code.OK if 200 <= status < 300 else _CODES.get(status, Code.UNKNOWN)
