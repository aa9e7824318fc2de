"""From items to payloads: a body is cut where the batch is full or the driver takes no more bytes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from headrace.errors import PushRefused


@dataclass(frozen=True, slots=True)
class Payload:
    """One batch's body: JSON bytes, its value, how many items, and the cursor behind its last item.

    `short`: it has fewer items than it might, because a task's body takes no more bytes.
    """

    body: bytes
    value: Any
    items: int
    cursor: Any
    short: bool = False


def encode(value: Any) -> bytes:
    """JSON of a payload.

    Raises:
        PushRefused: it holds something that JSON has no word for.
    """
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise PushRefused(
            f"The payload cannot be written as JSON: {error}.",
            hint="Push numbers, strings, booleans, lists and dictionaries with string keys.",
        ) from error


def encode_one(value: Any, *, max_body: int) -> Payload:
    """The payload of a task that is pushed by itself.

    Raises:
        PushRefused: it has more than `max_body` bytes, or is no JSON.
    """
    body = encode(value)
    _refuse_too_large(body, max_body)
    return Payload(body, value, len(value) if isinstance(value, list) else 1, None)


def cut(items: Iterable[tuple[Any, Any]], *, batch_size: int, max_body: int, max_payload: int) -> Iterator[Payload]:
    """Cut (item, cursor) pairs, in order, into array payloads of at most `batch_size` items and `max_body` bytes.

    An item that is larger by itself is a batch of its own, of up to `max_payload` bytes.

    Raises:
        PushRefused: one item alone is larger than that, or no JSON.
    """
    values: list[Any] = []
    parts: list[bytes] = []
    size, last = 2, None
    for item, cursor in items:
        part = encode(item)
        _refuse_too_large(part, max_payload - 2)
        full = len(values) >= batch_size
        if values and (full or size + len(part) > max_body):
            yield _array(values, parts, last, short=not full)
            values, parts, size = [], [], 2
        values.append(item)
        parts.append(part)
        size += len(part) + 1
        last = cursor
    if values:
        yield _array(values, parts, last)


def _array(values: list[Any], parts: list[bytes], cursor: Any, *, short: bool = False) -> Payload:
    return Payload(b"[" + b",".join(parts) + b"]", values, len(values), cursor, short)


def _refuse_too_large(body: bytes, limit: int) -> None:
    if len(body) > limit:
        raise PushRefused(
            f"A payload of {len(body):,} bytes is larger than the {limit:,} that a task may carry.",
            hint="Push an id of the data, and let the handler read it.",
        )
