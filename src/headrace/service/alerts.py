"""The admin API of alerts."""

from typing import Any

from headrace.alerts import Alerts
from headrace.service.current import current_service, operator


def list_alerts(limit: int = 50) -> dict[str, Any]:
    """What fires first, then what was resolved, at most `limit`; the routes; what could not be sent."""
    return _alerts().list(limit=limit)


def acknowledge_alert(alert_id: int) -> None:
    """Note that somebody looks after an alert.

    Raises NotFound and WrongState.
    """
    _alerts().acknowledge(alert_id, actor=operator())


def _alerts() -> Alerts:
    alerts = current_service().alerts
    if alerts is None:
        raise RuntimeError("This service was put together without a database.")
    return alerts
