"""The list of tasks: looked through by state and place, and changed several at a time."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flask import request

from headrace.console.access import actor
from headrace.console.ids import read_id
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.database.states import DisplayState
from headrace.errors import BadRequest, WrongState
from headrace.operators.tasks import MOST_AT_ONCE, Filters
from headrace.service.current import current_service, operators

PER_PAGE = 50
_FLAG = {"yes": True, "no": False}
_NAMES = ("q", "state", "handler", "queue", "run_id", "object", "standalone", "hide_successful", "before")


def register(site: Site) -> None:
    """Add the list of tasks."""
    site.page("/tasks", list_tasks)
    site.action("/tasks/retry", retry, needs=Permission.RETRY_TASK)
    site.action("/tasks/cancel", cancel, needs=Permission.CANCEL)
    site.action("/tasks/discard", discard, needs=Permission.PURGE)
    site.action("/tasks/<int:batch_id>/cancel", cancel_one, needs=Permission.CANCEL)


def list_tasks() -> tuple[str, dict[str, Any]]:
    """Tasks, the newest first, by what the address says."""
    given = {name: request.args.get(name, "").strip() for name in _NAMES}
    found = operators().tasks.list(filters_of(given), limit=PER_PAGE)
    contract = current_service().contract
    handlers = [each for each in contract.operations if each.task is not None]
    older = None if found["before"] is None else address_of({**given, "before": str(found["before"])})
    return "tasks.html", {
        "tasks": found["batches"],
        "looked_at": found["looked_at"],
        "given": given,
        "back": urlencode({name: value for name, value in given.items() if value}),
        "older": older,
        "newest": address_of({**given, "before": ""}) if given["before"] else None,
        "states": [each.value for each in DisplayState],
        "handlers": [each.operation_id for each in handlers],
        "queues": sorted({each.task.queue for each in handlers if each.task is not None}),
        "narrowed": any(given.values()),
    }


def filters_of(given: dict[str, str]) -> Filters:
    """What an address asks for; what it says wrong counts as not said. Pure."""
    known = {each.value for each in DisplayState}
    return Filters(
        state=DisplayState(given["state"]) if given["state"] in known else None,
        handler=given["handler"] or None,
        queue=given["queue"] or None,
        run_id=given["run_id"] or None,
        object=given["object"] or None,
        query=given["q"] or None,
        standalone=_FLAG.get(given["standalone"]),
        hide_successful=given["hide_successful"] == "yes",
        before=read_id(given["before"]),
    )


def address_of(given: dict[str, str]) -> str:
    """The path of the list with these filters, below the console. Pure."""
    query = urlencode({name: given[name] for name in _NAMES if given.get(name)})
    return f"/tasks?{query}" if query else "/tasks"


def retry() -> str:
    """Try the chosen ones again that are dead."""
    return _change(operators().tasks.retry_some, "to be tried again")


def cancel() -> str:
    """Cancel the chosen ones that wait."""
    return _change(operators().tasks.cancel_some, "cancelled")


def discard() -> str:
    """Give up the chosen ones that are dead."""
    return _change(operators().tasks.discard_some, "given up")


def cancel_one(batch_id: int) -> str:
    """Cancel a task that waits, and go back to it."""
    operators().tasks.cancel(batch_id, actor=actor())
    return f"/tasks/{batch_id}"


def _change(act: Callable[..., dict[str, Any]], done: str) -> str:
    chosen = [each for text in request.form.getlist("batch_id") if (each := read_id(text)) is not None]
    if not chosen:
        raise BadRequest("No task is chosen.", hint="Tick those that it is to be done to.")
    if len(chosen) > MOST_AT_ONCE:
        raise BadRequest(f"At most {MOST_AT_ONCE:,} tasks at once.")
    answer = act(chosen, actor=actor())
    if answer["refused"]:
        reasons = " ".join(each["reason"] for each in answer["refused"][:_REASONS])
        more = " …" if len(answer["refused"]) > _REASONS else ""
        raise WrongState(f"{answer['changed']} {done}; {len(answer['refused'])} refused: {reasons}{more}")
    return address_of(dict(parse_qsl(request.form.get("back", ""))))


_REASONS = 3
