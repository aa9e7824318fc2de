"""Queues, and one queue: what waits there, and how it is steered."""

from typing import Any

from flask import request
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from headrace.console.access import actor
from headrace.console.limits import read_limits
from headrace.console.site import BASE, Site
from headrace.contract.operations import Permission
from headrace.errors import NotFound, Unreachable
from headrace.runs.names import parse_task_name
from headrace.service.current import operators


def register(site: Site) -> None:
    """Add the pages of queues."""
    site.page("/queues", list_queues)
    site.page("/queues/<queue>", show_queue)
    site.page("/queues/<queue>/limits", show_limits)
    site.page("/queues/<queue>/tasks/<task>", show_task)
    site.action("/queues/<queue>/pause", pause, needs=Permission.PAUSE)
    site.action("/queues/<queue>/resume", resume, needs=Permission.PAUSE)
    site.page("/queues/<queue>/purge", show_rest, needs=Permission.PURGE)
    site.action("/queues/<queue>/purge", purge, needs=Permission.PURGE)
    site.action("/queues/<queue>/limits", limit, needs=Permission.SETTINGS)
    site.action("/queues/<queue>/limits/give-back", give_back, needs=Permission.SETTINGS)
    site.action("/queues/<queue>/tasks/<task>/run", run_task, needs=Permission.RETRY_TASK)


def list_queues() -> tuple[str, dict[str, Any]]:
    """All queues of queue.yaml."""
    return "queues.html", {"queues": operators().queues.list(), "more": ""}


def show_queue(queue: str) -> tuple[str, dict[str, Any]]:
    """One queue: its limits, the first tasks on it, its last deliveries."""
    row = operators().queues.show(queue)
    return "queue.html", {
        "queue": row,
        "tasks": row["tasks"],
        "order": "the oldest first",
        "others": [],
        "deliveries": without_bodies(row["deliveries"]),
    }


def show_limits(queue: str) -> tuple[str, dict[str, Any]]:
    """The limits of a queue, to be set over its file."""
    row = operators().queues.show(queue)
    if row["limits"] is None:
        raise Unreachable(f"The queue {queue} gives no answer, so its limits cannot be shown.")
    return "queue_limits.html", {"queue": row}


def show_task(queue: str, task: str) -> Response:  # noqa: ARG001 - part of the address
    """The page of the batch that a task of ours carries."""
    return redirect(f"{BASE}/tasks/{_batch_of(task)}", code=303)


def pause(queue: str) -> str:
    """Have it push nothing by itself."""
    operators().queues.pause(queue, actor=actor())
    return f"/queues/{queue}"


def resume(queue: str) -> str:
    """Have it push again."""
    operators().queues.resume(queue, actor=actor())
    return f"/queues/{queue}"


def purge(queue: str) -> str:
    """End what waits for it; where that takes longer than a request may, lead to the page that goes on."""
    return f"/queues/{queue}/purge" if operators().queues.purge(queue, actor=actor()).more else f"/queues/{queue}"


def show_rest(queue: str) -> tuple[str, dict[str, Any]]:
    """What a purge has left."""
    return "queue_purge.html", {"queue": operators().queues.show(queue)}


def limit(queue: str) -> str:
    """Set what was changed in the form; what is as the file says then does not stand over it."""
    queues = operators().queues
    file, changed = queues.file_limits(queue), read_limits(request.form)
    if changed:
        limits = {name: None if value == file[name] else value for name, value in changed.items()}
        queues.limit(queue, limits, actor=actor())
    return f"/queues/{queue}"


def give_back(queue: str) -> str:
    """Have the file's limits in force again."""
    operators().queues.limit(queue, None, actor=actor())
    return f"/queues/{queue}"


def run_task(queue: str, task: str) -> str:
    """Have the batch of a task executed now."""
    operators().queued_tasks.run(_batch_of(task), actor=actor())
    return f"/queues/{queue}"


def without_bodies(deliveries: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Rows of deliveries as templates take them: what was sent stands on the page of its task."""
    return None if deliveries is None else [{**each, "body": b""} for each in deliveries]


def _batch_of(task: str) -> int:
    name = parse_task_name(task)
    if name is None:
        raise NotFound(f"The task {task} was made by somebody else: it gets a page when it is delivered.")
    return name.batch_id
