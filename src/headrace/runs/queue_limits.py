"""Limits of queues that an operator set over queue.yaml: overrides under `queue.<name>`, as JSON."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from headrace.config.queues import MAX_BUCKET_SIZE, MAX_CONCURRENCY, MAX_RETRIES
from headrace.contract.operations import Contract, QueueOptions
from headrace.database import key_rows, override_rows
from headrace.database.override_rows import OverrideRow
from headrace.drivers.queues import LIMITS, QueueLimits
from headrace.errors import BadRequest
from headrace.retries import RetryLimits
from headrace.runs.override_copy import OverrideCopy

PREFIX = "queue."
FASTEST = 500.0
"""Tasks a second that a queue may push (Cloud Tasks' quota, and queue.yaml's)."""
LONGEST = 315_360_000.0
"""Seconds of the longest duration: ten years, as long as a task may live."""


@dataclass(frozen=True, slots=True)
class QueueOverride:
    """What stands over a queue's file: the limits that were changed, by name, and who did it."""

    queue: str
    changes: Mapping[str, float]
    set_by: str

    def over(self, limits: QueueLimits) -> QueueLimits:
        """These limits with the changes."""
        return limits.changed(self.changes)


def file_limits(options: QueueOptions) -> QueueLimits:
    """What queue.yaml says of a queue."""
    return QueueLimits(
        options.rate_per_second, options.bucket_size, options.max_concurrent_requests, retry=options.retry
    )


def find_queue_override(connection: Connection, queue: str) -> QueueOverride | None:
    """What stands over a queue's file; None where nothing does."""
    row = override_rows.find_override(connection, PREFIX + queue)
    return None if row is None else _read(row)


def list_queue_overrides(connection: Connection) -> dict[str, QueueOverride]:
    """What stands over the file, by queue."""
    found = (_read(row) for row in override_rows.list_overrides(connection) if row.key.startswith(PREFIX))
    return {override.queue: override for override in found if override is not None}


def lock_queue_override(connection: Connection, queue: str) -> None:
    """Keep others who change what stands over this queue's file waiting until the transaction ends."""
    key_rows.lock_key(connection, PREFIX + queue)


def write_queue_override(
    connection: Connection, queue: str, changes: Mapping[str, float] | None, *, now: int, actor: str
) -> None:
    """Set what stands over a queue's file, or clear it with None; audited."""
    value = None if changes is None else orjson.dumps(changes, option=orjson.OPT_SORT_KEYS).decode()
    override_rows.set_override(connection, PREFIX + queue, value, now=now, actor=actor)


def check_limits(limits: QueueLimits, changes: Mapping[str, Any]) -> None:
    """See that changed limits are what a queue may have; `limits` are those in force with the changes.

    The bounds are those of queue.yaml, as Cloud Tasks counts: attempts with the first one included. Raises BadRequest
    with the pointer of what is wrong.
    """
    values = limits.values()
    for name in changes:
        check, words = _BOUNDS[name]
        if not check(values[name]):
            raise BadRequest(f"{name} takes {words}.", pointer=f"/{name}")
    if limits.retry.min_backoff > limits.retry.max_backoff:
        name = "min_backoff" if "min_backoff" in changes else "max_backoff"
        raise BadRequest("min_backoff must not be longer than max_backoff.", pointer=f"/{name}")


def _whole(least: int, most: int) -> Callable[[float], bool]:
    return lambda value: isinstance(value, int) and least <= value <= most


_BOUNDS: dict[str, tuple[Callable[[float], bool], str]] = {
    "rate_per_second": (lambda value: 0 <= value <= FASTEST, f"0 to {FASTEST:g} tasks a second"),
    "bucket_size": (_whole(1, MAX_BUCKET_SIZE), f"a whole number from 1 to {MAX_BUCKET_SIZE}"),
    "max_concurrent_requests": (_whole(1, MAX_CONCURRENCY), f"a whole number from 1 to {MAX_CONCURRENCY:,}"),
    "max_attempts": (
        lambda value: value == -1 or _whole(1, MAX_RETRIES + 1)(value),
        f"a whole number from 1 to {MAX_RETRIES + 1:,}, or -1 for no limit",
    ),
    "max_duration": (lambda value: 0 <= value <= LONGEST, f"seconds up to {LONGEST:,.0f}, or 0 for no limit"),
    "min_backoff": (lambda value: 0 <= value <= LONGEST, f"seconds up to {LONGEST:,.0f}"),
    "max_backoff": (lambda value: 0 <= value <= LONGEST, f"seconds up to {LONGEST:,.0f}"),
    "max_doublings": (_whole(0, MAX_RETRIES), f"a whole number from 0 to {MAX_RETRIES:,}"),
}


@dataclass(frozen=True, slots=True)
class RetriesInForce:
    """The retry limits of queues as they are now: the file's, with what an operator set over them. Thread-safe."""

    copy: OverrideCopy
    contract: Contract

    def __call__(self, queue: str) -> RetryLimits | None:
        """The limits in force; None for a queue that queue.yaml does not have. Call it outside of transactions."""
        options = self.contract.queues.get(queue)
        if options is None:
            return None
        row = self.copy.get(PREFIX + queue)
        override = None if row is None else _read(row)
        return options.retry if override is None else override.over(file_limits(options)).retry


def _read(row: OverrideRow) -> QueueOverride | None:
    """What a row says; None where that is no limits."""
    try:
        changes = orjson.loads(row.value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(changes, dict) or not all(name in LIMITS and _is_number(changes[name]) for name in changes):
        return None
    return QueueOverride(row.key.removeprefix(PREFIX), changes, row.set_by)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
