"""One push of a task by a queue, as its headers tell."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace.errors import BadRequest

Header = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What Cloud Tasks says about a push.

    `retry_count` counts the deliveries before this one, `execution_count` those of them that got an answer other
    than 5xx. `eta` is the task's scheduled time in seconds since 1970. `previous_response` is the HTTP status of
    the delivery before, 504 when there was no answer; None on the first. `retry_reason` is often empty.
    Source: the headers of recorded dispatches of Cloud Tasks.
    """

    queue: str
    task_name: str
    retry_count: int = 0
    execution_count: int = 0
    eta: float | None = None
    previous_response: int | None = None
    retry_reason: str = ""


def read_delivery(header: Header) -> Delivery:
    """The delivery that X-CloudTasks headers tell of; `header(name, default)` looks one up.

    Raises BadRequest when the task has no name, or a number is none.
    """
    task_name = header("X-CloudTasks-TaskName", "")
    if not task_name:
        raise BadRequest("The header X-CloudTasks-TaskName is missing.", hint="Only a queue pushes tasks here.")
    previous = _number(header, "X-CloudTasks-TaskPreviousResponse")
    return Delivery(
        queue=header("X-CloudTasks-QueueName", ""),
        task_name=task_name,
        retry_count=int(_number(header, "X-CloudTasks-TaskRetryCount") or 0),
        execution_count=int(_number(header, "X-CloudTasks-TaskExecutionCount") or 0),
        eta=_number(header, "X-CloudTasks-TaskETA"),
        previous_response=None if previous is None else int(previous),
        retry_reason=header("X-CloudTasks-TaskRetryReason", ""),
    )


def _number(header: Header, name: str) -> float | None:
    text = header(name, "")
    if not text:
        return None
    if not text.replace(".", "", 1).isdecimal():
        raise BadRequest(f"The header {name} is not a number.")
    return float(text)
