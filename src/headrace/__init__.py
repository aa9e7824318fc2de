"""Headrace: big jobs as many small HTTP pushes.

A cron endpoint splits a job into batched payloads and pushes them onto named queues; each queue delivers its
batches, at the rate that queue.yaml allows, to a handler endpoint, which does one batch within one request
deadline. Public names are exported here once; docs/architecture.md shows the house.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.execution.batch import Batch
    from headrace.execution.delivery import Delivery
    from headrace.runs.job import Job
    from headrace.service.current import push
    from headrace.service.factory import create_app

__version__ = "0.1.0"
__all__ = ["Batch", "Delivery", "Job", "create_app", "push"]

_HOMES = {
    "Batch": "headrace.execution.batch",
    "Delivery": "headrace.execution.delivery",
    "Job": "headrace.runs.job",
    "create_app": "headrace.service.factory",
    "push": "headrace.service.current",
}


def __getattr__(name: str) -> Any:
    # The queue server and the command line do not pay for the service's packages.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
