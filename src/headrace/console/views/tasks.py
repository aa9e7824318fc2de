"""One task: its batch, its attempts, and what can be done with it."""

from typing import Any

import orjson
from flask import request

from headrace.console.access import actor
from headrace.console.site import Site
from headrace.console.timelines import join_attempts
from headrace.console.views.queues import without_bodies
from headrace.contract.operations import Permission
from headrace.errors import BadRequest
from headrace.service.current import current_service, operators


def register(site: Site) -> None:
    """Add the page of one task."""
    site.page("/tasks/<int:batch_id>", show_task)
    site.page("/tasks/<int:batch_id>/edit", show_editor, needs=Permission.RETRY_TASK)
    site.action("/tasks/<int:batch_id>/retry", retry_task, needs=Permission.RETRY_TASK)
    site.action("/tasks/<int:batch_id>/edit", edit_task, needs=Permission.RETRY_TASK)
    site.action("/tasks/<int:batch_id>/run", run_task, needs=Permission.RETRY_TASK)
    site.action("/tasks/<int:batch_id>/discard", discard_task, needs=Permission.PURGE)


def show_task(batch_id: int) -> tuple[str, dict[str, Any]]:
    """A task with its payload, deliveries and attempts, effects, items in trouble, and why it is not running."""
    task = operators().batches.show(batch_id)
    payload = orjson.dumps(task["payload"], option=orjson.OPT_INDENT_2).decode()
    operation = current_service().contract.by_id.get(task["handler"])
    queue = operation.task.queue if operation is not None and operation.task is not None else None
    told = operators().queued_tasks.show(batch_id)
    return "task.html", {
        "task": task,
        "payload": payload,
        "queue": queue,
        "told": told,
        "moments": join_attempts(task["attempts"], without_bodies(told["deliveries"]) or []),
    }


def show_editor(batch_id: int) -> tuple[str, dict[str, Any]]:
    """A dead task's payload, to be changed."""
    task = operators().batches.show(batch_id)
    return "task_edit.html", {
        "task": task,
        "payload": orjson.dumps(task["payload"], option=orjson.OPT_INDENT_2).decode(),
    }


def retry_task(batch_id: int) -> str:
    """Try a dead task again."""
    operators().dead_letters.retry(batch_id, actor=actor())
    return f"/tasks/{batch_id}"


def edit_task(batch_id: int) -> str:
    """Try a dead task again with another payload."""
    try:
        payload = orjson.loads(request.form.get("payload", ""))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The payload is not valid JSON: {error}.") from error
    operators().dead_letters.edit(batch_id, payload, actor=actor())
    return f"/tasks/{batch_id}"


def run_task(batch_id: int) -> str:
    """Have a task that waits executed now."""
    operators().queued_tasks.run(batch_id, actor=actor())
    return f"/tasks/{batch_id}"


def discard_task(batch_id: int) -> str:
    """Give a dead task up."""
    operators().dead_letters.discard(batch_id, actor=actor())
    return f"/tasks/{batch_id}"
