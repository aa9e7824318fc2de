"""Schedules: when jobs start by themselves."""

from typing import Any

from flask import request

from headrace.console.access import actor
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.service.current import current_service


def register(site: Site) -> None:
    """Add the page of schedules."""
    site.page("/schedules", list_schedules)
    site.page("/schedules/edit", show_editor, needs=Permission.SETTINGS)
    site.action("/schedules/pause", pause, needs=Permission.PAUSE)
    site.action("/schedules/resume", resume, needs=Permission.PAUSE)
    site.action("/schedules/send", send, needs=Permission.SEND_SCHEDULE)
    site.action("/schedules/edit", edit, needs=Permission.SETTINGS)


def list_schedules() -> tuple[str, dict[str, Any]]:
    """Each schedule in words, with its next times and its last run."""
    return "schedules.html", {"schedules": current_service().schedules.list()}


def show_editor() -> tuple[str, dict[str, Any]]:
    """One schedule, to be set over its file."""
    url = request.args.get("url", "")
    found = next((each for each in current_service().schedules.list() if each["url"] == url), None)
    return "schedule_edit.html", {"schedule": found, "url": url}


def pause() -> str:
    """No firing until it is resumed."""
    current_service().schedules.pause(_url(), actor=actor())
    return "/schedules"


def resume() -> str:
    """Fire again, from the next time on."""
    current_service().schedules.resume(_url(), actor=actor())
    return "/schedules"


def send() -> str:
    """Start the job now, and show the run."""
    return f"/runs/{current_service().schedules.send(_url(), actor=actor())}"


def edit() -> str:
    """Set, or clear with nothing, what stands over the file."""
    names = ("schedule", "timezone", "missed")
    changes = {name: request.form[name].strip() or None for name in names if name in request.form}
    current_service().schedules.edit(_url(), changes, actor=actor())
    return "/schedules"


def _url() -> str:
    return request.form.get("url", "")
