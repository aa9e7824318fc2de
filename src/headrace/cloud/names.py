"""Resource names of Cloud Tasks: read and checked.

    projects/P
    projects/P/locations/L
    projects/P/locations/L/queues/Q
    projects/P/locations/L/queues/Q/tasks/T
    projects/P/locations/L/cmekConfig

Character sets and lengths are those of the Cloud Tasks v2 reference (Queue.name, Task.name); projects and
locations may be 200 characters long, which is more than any real one has.
"""

import re
from functools import lru_cache

from headrace.cloud.errors import bad_project, bad_queue_name, bad_resource_name, bad_task_id, invalid

_PROJECT = r"projects/[A-Za-z0-9:.\-]{1,200}"
_LOCATION = _PROJECT + r"/locations/[A-Za-z0-9\-]{1,200}"
_PROJECT_NAME = re.compile(_PROJECT)
_LOCATION_NAME = re.compile(_LOCATION)
_QUEUE_NAME = re.compile(_LOCATION + r"/queues/[A-Za-z0-9\-]{1,100}")
_CMEK_NAME = re.compile(f"({_LOCATION})/[cC]mekConfig")
_TASK_ID = re.compile(r"[A-Za-z0-9_\-]{1,500}")


def check_project(name: str) -> str:
    """Give back `projects/P`; ApiError when it is not one."""
    return _check(_PROJECT_NAME, name)


def check_location(name: str) -> str:
    """Give back `projects/P/locations/L`; ApiError when it is not one."""
    return _check(_LOCATION_NAME, name)


def _check(pattern: re.Pattern[str], name: str) -> str:
    if pattern.fullmatch(name):
        return name
    # The real service asks for rights on the project before it reads the rest of the name.
    raise bad_resource_name() if name.startswith("projects/") else bad_project(name)


@lru_cache(maxsize=4096)
def check_queue(name: str) -> str:
    """Give back a queue's full name; ApiError when it is not one."""
    if not _QUEUE_NAME.fullmatch(name):
        raise bad_resource_name()
    return name


def check_new_queue(name: str, location: str) -> str:
    """Give back the full name of a queue that is to be made in `location`; ApiError when it is not one."""
    if not _QUEUE_NAME.fullmatch(name):
        raise bad_queue_name()
    if location_of(name) != location:
        raise invalid(f"The queue's name must begin with the parent '{location}'.")
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


def check_cmek_config(name: str) -> str:
    """The full name of a location's encryption settings, with a small c; ApiError when it is not one."""
    match = _CMEK_NAME.fullmatch(name)
    if match is None:
        raise bad_resource_name()
    return f"{match[1]}/cmekConfig"


def queue_name(project: str, location: str, queue_id: str) -> str:
    """A queue's full name; ApiError when a part cannot stand in one."""
    return check_queue(f"projects/{project}/locations/{location}/queues/{queue_id}")


def location_of(queue: str) -> str:
    """The location in which a queue with this full name is."""
    return queue.partition("/queues/")[0]


def project_of(name: str) -> str:
    """The id of the project that a full name begins with."""
    return name.split("/", 2)[1]
