"""Pages of lists: sizes and tokens."""

import base64
import binascii
from collections.abc import AsyncIterator

import orjson

from headrace.cloud.errors import bad_page_token, invalid
from headrace.engine.engine import Engine
from headrace.engine.model import Task

PAGE_BYTES = 2 << 20
"""About how large a page of tasks may be; clients take 4 MiB a message unless told otherwise."""
_TASKS_A_READ = 100
TOKEN_LIFE = 2 * 3600.0
"""Seconds that a token may be used (ListTasksResponse.next_page_token)."""


def page_size(asked: int, most: int) -> int:
    """How many items a page holds at most; 0 asks for as many as may be."""
    if asked < 0:
        raise invalid("The page size cannot be negative.")
    return min(asked or most, most)


async def each_task(engine: Engine, queue: str, after: int, most: int) -> AsyncIterator[Task]:
    """The tasks of a queue behind a system id, in its order, for a page of at most `most`.

    One more than the page holds is there, if the queue has it, to tell whether there are more. A few are read at a
    time, as they are asked for: each may have a megabyte.
    """
    while tasks := await engine.list_tasks(queue, after, min(_TASKS_A_READ, most + 1)):
        for task in tasks:
            yield task
        after = tasks[-1].id


def write_token(place: str, listing: str, now: float) -> str:
    """The token of the page after a place; `listing` is all that has to stay the same from page to page."""
    return base64.urlsafe_b64encode(orjson.dumps((place, listing, now))).decode()


def read_token(token: str, listing: str, now: float) -> str:
    """The place of a token; "" for the first page. ApiError when it is not one of this listing, or too old."""
    if not token:
        return ""
    try:
        place, same, made_at = orjson.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        age = now - float(made_at)
    except (binascii.Error, ValueError, TypeError) as error:
        raise bad_page_token("It was not given by this method.") from error
    if same != listing or not isinstance(place, str):
        raise bad_page_token("The parent and the filter must stay the same while pages are read.")
    if age > TOKEN_LIFE:
        raise bad_page_token("It is older than two hours.")
    return place


def read_id(token: str, listing: str, now: float) -> int:
    """The system id that a page begins after; 0 for the first page. ApiError as `read_token`."""
    place = read_token(token, listing, now) or "0"
    if not (place.isascii() and place.isdecimal() and len(place) < 19):
        raise bad_page_token("It was not given by this method.")
    return int(place)
