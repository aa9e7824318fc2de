"""One push of a task by a queue, as its headers tell."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.errors import BadRequest


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


def read_delivery(headers: Mapping[str, str]) -> Delivery:
    """The delivery that X-CloudTasks headers tell of; names of headers are looked up as `headers` does it.

    Raises BadRequest when the task has no name, or a number is none.
    """
    task_name = headers.get("X-CloudTasks-TaskName", "")
    if not task_name:
        raise BadRequest("The header X-CloudTasks-TaskName is missing.", hint="Only a queue pushes tasks here.")
    previous = _number(headers, "X-CloudTasks-TaskPreviousResponse")
    return Delivery(
        queue=headers.get("X-CloudTasks-QueueName", ""),
        task_name=task_name,
        retry_count=int(_number(headers, "X-CloudTasks-TaskRetryCount") or 0),
        execution_count=int(_number(headers, "X-CloudTasks-TaskExecutionCount") or 0),
        eta=_number(headers, "X-CloudTasks-TaskETA"),
        previous_response=None if previous is None else int(previous),
        retry_reason=headers.get("X-CloudTasks-TaskRetryReason", ""),
    )


def _number(headers: Mapping[str, str], name: str) -> float | None:
    text = headers.get(name, "")
    if not text:
        return None
    if not text.replace(".", "", 1).isdecimal():
        raise BadRequest(f"The header {name} is not a number.")
    return float(text)
