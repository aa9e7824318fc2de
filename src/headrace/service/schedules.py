"""The admin API of schedules: when jobs start by themselves, and what an operator does about it."""

from collections.abc import Mapping
from typing import Any

from flask import Response, request

from headrace.service.current import current_service, operator


def list_schedules() -> dict[str, Any]:
    """The schedules of jobs: in force, the file's, state, next times, last firing."""
    return {"schedules": current_service().schedules.list()}


def edit_schedule() -> Mapping[str, Any]:
    """Set schedule, time zone or missed policy over the files, or clear them with null; the schedule as it stands.

    Raises BadRequest, NotFound and Forbidden.
    """
    asked = request.get_json()
    return current_service().schedules.edit(asked.pop("url"), asked, actor=operator())


def pause_schedule() -> Mapping[str, Any]:
    """Fire no more until it is resumed.

    Raises NotFound, Forbidden and WrongState.
    """
    return current_service().schedules.pause(request.get_json()["url"], actor=operator())


def resume_schedule() -> Mapping[str, Any]:
    """Fire again from the next time on.

    Raises NotFound, Forbidden and WrongState.
    """
    return current_service().schedules.resume(request.get_json()["url"], actor=operator())


def send_schedule() -> Response:
    """Start a run now, whatever the schedule's state, which stays as it is; X-Run-Id names the run.

    Raises NotFound and Forbidden.
    """
    run_id = current_service().schedules.send(request.get_json()["url"], actor=operator())
    response = Response(status=204, headers={"X-Run-Id": run_id})
    del response.headers["Content-Type"]
    return response
