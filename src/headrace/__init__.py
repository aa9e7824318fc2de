"""Headrace: big jobs as many small HTTP pushes.

A cron endpoint splits a job into batched payloads and pushes them onto named queues; each queue delivers its
batches, at the rate that queue.yaml allows, to a handler endpoint, which does one batch within one request
deadline. Public names are exported here once; docs/architecture.md shows the house.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.errors import Cancel, EffectNotDone, PermanentFailure, Retry, Snooze
    from headrace.execution.batch import Batch
    from headrace.execution.delivery import Delivery
    from headrace.execution.items import Item
    from headrace.runs.job import Job, Step
    from headrace.runs.pushing import Pushed
    from headrace.service.current import caller, cancel, now, push, read, reschedule, start, transaction
    from headrace.service.factory import create_app
    from headrace.service.operations import operation

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Cancel",
    "Delivery",
    "EffectNotDone",
    "Item",
    "Job",
    "PermanentFailure",
    "Pushed",
    "Retry",
    "Snooze",
    "Step",
    "caller",
    "cancel",
    "create_app",
    "now",
    "operation",
    "push",
    "read",
    "reschedule",
    "start",
    "transaction",
]

_HOMES = {
    "Batch": "headrace.execution.batch",
    "Cancel": "headrace.errors",
    "Delivery": "headrace.execution.delivery",
    "EffectNotDone": "headrace.errors",
    "Item": "headrace.execution.items",
    "Job": "headrace.runs.job",
    "PermanentFailure": "headrace.errors",
    "Pushed": "headrace.runs.pushing",
    "Retry": "headrace.errors",
    "Snooze": "headrace.errors",
    "Step": "headrace.runs.job",
    "caller": "headrace.service.current",
    "cancel": "headrace.service.current",
    "create_app": "headrace.service.factory",
    "now": "headrace.service.current",
    "operation": "headrace.service.operations",
    "push": "headrace.service.current",
    "read": "headrace.service.current",
    "reschedule": "headrace.service.current",
    "start": "headrace.service.current",
    "transaction": "headrace.service.current",
}


def __getattr__(name: str) -> Any:
    # The queue server and the command line do not pay for the service's packages.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
