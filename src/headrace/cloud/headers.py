"""HTTP headers that callers give: whether they can be sent."""

import re
from collections.abc import Mapping, Sequence

from headrace.cloud.errors import invalid

MAX_HEADER_BYTES = 80 * 1024
"""Of all names and values of a request together (HttpRequest.headers in the reference)."""
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def check_headers(pairs: Sequence[tuple[str, str]], field: str) -> None:
    """ApiError for a name or a value that would break a request, or too much of them; `field` is named in it."""
    for key, value in pairs:
        if not _NAME.fullmatch(key) or not _VALUE.fullmatch(value):
            raise invalid(f'{field}: "{key}" is not a header that can be sent.')
    if sum(len(key) + len(value) for key, value in pairs) > MAX_HEADER_BYTES:
        raise invalid(f"{field} must be less than 80KB in total.")


def read_headers(headers: Mapping[str, str], field: str) -> list[tuple[str, str]]:
    """The headers, checked, by name, with their names as the caller wrote them."""
    pairs = sorted(headers.items())
    check_headers(pairs, field)
    return pairs
