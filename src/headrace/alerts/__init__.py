"""Alerts: every handler, job and queue is watched without a line of code of its own."""

from headrace.alerts.alerting import Alerting, make_alerting
from headrace.alerts.alerts import Alerts

__all__ = ["Alerting", "Alerts", "make_alerting"]
