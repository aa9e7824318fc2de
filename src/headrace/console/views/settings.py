"""Settings: what may be changed while the service runs."""

from typing import Any

from flask import request

from headrace.console.access import actor
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.service.current import current_service


def register(site: Site) -> None:
    """Add the page of settings."""
    site.page("/settings", list_settings)
    site.action("/settings", put, needs=Permission.SETTINGS)
    site.action("/settings/clear", clear, needs=Permission.SETTINGS)


def list_settings() -> tuple[str, dict[str, Any]]:
    """Every setting: its value, its default, and what the value comes from."""
    return "settings.html", {"settings": current_service().overrides.list()}


def put() -> str:
    """Set one over the environment and the files."""
    current_service().overrides.put(_key(), request.form.get("value", "").strip(), actor=actor())
    return "/settings"


def clear() -> str:
    """Let the environment or the files say it again."""
    current_service().overrides.put(_key(), None, actor=actor())
    return "/settings"


def _key() -> str:
    return request.form.get("key", "")
