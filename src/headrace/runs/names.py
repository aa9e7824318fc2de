"""Names of tasks: `<16 hex>-<batch id>-<generation>`.

The hash spreads names over the queue's key space (Cloud Tasks slows down on names that share a prefix) and covers
the run and step, so that a row of another database never answers to it; the rest is for people and look-ups.
"""

import hashlib
import re
from dataclasses import dataclass

_NAME = re.compile(r"[0-9a-f]{16}-([0-9]{1,18})-([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class TaskName:
    """A name that Headrace gave, taken apart."""

    batch_id: int
    generation: int


def name_task(run_id: str, batch_id: int, generation: int) -> str:
    """The name of a batch's task in one generation: the same again for the same push again."""
    return f"{_digest(run_id, batch_id, generation)}-{batch_id}-{generation}"


def parse_task_name(name: str) -> TaskName | None:
    """The parts of a name of ours; None when somebody else named the task."""
    match = _NAME.fullmatch(name)
    return TaskName(int(match[1]), int(match[2])) if match else None


def _digest(run_id: str, batch_id: int, generation: int) -> str:
    return hashlib.sha256(f"{run_id}/{batch_id}/{generation}".encode()).hexdigest()[:16]
