"""Alerts: what is wrong now, what was, and where it is sent."""

from typing import Any

from headrace.alerts import Alerts
from headrace.console.access import actor
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.service.current import current_service

PER_PAGE = 100


def register(site: Site) -> None:
    """Add the page of alerts."""
    site.page("/alerts", list_alerts)
    site.action("/alerts/<int:alert_id>/acknowledge", acknowledge, needs=Permission.ACKNOWLEDGE)


def list_alerts() -> tuple[str, dict[str, Any]]:
    """What fires first, then what was resolved."""
    return "alerts.html", _alerts().list(limit=PER_PAGE) | {"limit": PER_PAGE}


def acknowledge(alert_id: int) -> str:
    """Note that somebody looks after one."""
    _alerts().acknowledge(alert_id, actor=actor())
    return "/alerts"


def _alerts() -> Alerts:
    alerts = current_service().alerts
    if alerts is None:
        raise RuntimeError("This service was put together without a database.")
    return alerts
