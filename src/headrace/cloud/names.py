"""Resource names of Cloud Tasks: read and checked.

    projects/P/locations/L
    projects/P/locations/L/queues/Q
    projects/P/locations/L/queues/Q/tasks/T

Character sets and lengths are those of the Cloud Tasks v2 reference (Queue.name, Task.name).
"""

import re
from functools import lru_cache

from headrace.cloud.errors import bad_resource_name, bad_task_id

_LOCATION = r"projects/[A-Za-z0-9:.\-]+/locations/[A-Za-z0-9\-]+"
_LOCATION_NAME = re.compile(_LOCATION)
_QUEUE_NAME = re.compile(_LOCATION + r"/queues/[A-Za-z0-9\-]{1,100}")
_TASK_ID = re.compile(r"[A-Za-z0-9_\-]{1,500}")


def check_location(name: str) -> str:
    """Give back `projects/P/locations/L`; ApiError when it is not one."""
    if not _LOCATION_NAME.fullmatch(name):
        raise bad_resource_name()
    return name


@lru_cache(maxsize=4096)
def check_queue(name: str) -> str:
    """Give back a queue's full name; ApiError when it is not one."""
    if not _QUEUE_NAME.fullmatch(name):
        raise bad_resource_name()
    return name


def split_task(name: str) -> tuple[str, str]:
    """A task's full name as its queue's full name and its id; ApiError when it is not one."""
    queue, separator, task_id = name.partition("/tasks/")
    if not separator:
        raise bad_resource_name()
    check_queue(queue)
    if not _TASK_ID.fullmatch(task_id):
        raise bad_task_id(task_id)
    return queue, task_id


def queue_name(project: str, location: str, queue_id: str) -> str:
    """A queue's full name; ApiError when a part cannot stand in one."""
    return check_queue(f"projects/{project}/locations/{location}/queues/{queue_id}")
