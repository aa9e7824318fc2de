"""The admin API of queues: how they stand, what an operator does to them, and to one task."""

from collections.abc import Mapping
from typing import Any

from flask import request

from headrace.service.current import operator, operators


def list_queues() -> dict[str, Any]:
    """All queues of queue.yaml, with their state, limits and backlog; the cap of those that have one."""
    return {"queues": operators().queues.list()}


def show_queue(queue: str) -> Mapping[str, Any]:
    """One queue, with the first tasks on it and its last deliveries.

    Raises NotFound.
    """
    return operators().queues.show(queue)


def pause_queue(queue: str) -> None:
    """Have it push nothing by itself.

    Raises NotFound and Unreachable.
    """
    operators().queues.pause(queue, actor=operator())


def resume_queue(queue: str) -> None:
    """Have it push again.

    Raises NotFound and Unreachable.
    """
    operators().queues.resume(queue, actor=operator())


def purge_queue(queue: str) -> dict[str, Any]:
    """End what waits for it as cancelled; `more` says that it is to be asked for again, for the rest.

    Raises NotFound and Unreachable.
    """
    purged = operators().queues.purge(queue, actor=operator())
    return {"purged": purged.batches, "more": purged.more}


def limit_queue(queue: str) -> Mapping[str, Any]:
    """Set limits over queue.yaml's, or clear them with null; the queue as it then stands.

    Raises BadRequest, NotFound and Unreachable.
    """
    queues = operators().queues
    queues.limit(queue, request.get_json(), actor=operator())
    return queues.show(queue)


def show_batch(batch_id: int, queue: bool = False) -> Mapping[str, Any]:
    """One batch with its payload, attempts, items in trouble and effects; with `queue`, what its queue tells of it.

    Raises NotFound.
    """
    shown = operators().batches.show(batch_id)
    return {**shown, **operators().queued_tasks.show(batch_id)} if queue else shown


def run_batch(batch_id: int) -> None:
    """Have a batch that waits executed now, also while its queue is paused.

    Raises NotFound, WrongState and Unreachable.
    """
    operators().queued_tasks.run(batch_id, actor=operator())
