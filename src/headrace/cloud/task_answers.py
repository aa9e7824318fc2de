"""The engine's tasks as Cloud Tasks messages."""

from headrace.cloud.descriptors import Message, set_time
from headrace.cloud.errors import Code
from headrace.cloud.messages import BASIC, FULL, METHOD_NUMBERS, Task
from headrace.engine import model

_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ALREADY_EXISTS,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""The google.rpc code that an attempt shows for an HTTP status; UNKNOWN for any other that is not 2xx."""
_SYSTEM_NAME_LENGTH = 16
"""Digits of the name that the engine gives: microseconds since the epoch."""


def task_message(task: model.Task, view: int) -> Message:
    """A task in the asked view; BASIC, the default, leaves out the body alone, as the real service does."""
    message = Task(
        name=f"{task.queue}/tasks/{task.name}",
        dispatch_count=task.dispatch_count,
        response_count=task.response_count,
        view=FULL if view == FULL else BASIC,
    )
    message.create_time.seconds = int(task.created_at)
    set_time(message.schedule_time, task.schedule_at)
    set_time(message.dispatch_deadline, task.dispatch_deadline)
    _fill_request(message.http_request, task.target, with_body=view == FULL)
    if task.first_attempt is not None:
        set_time(message.first_attempt.dispatch_time, task.first_attempt.dispatched_at)
    if task.last_attempt is not None:
        _fill_attempt(message.last_attempt, task.last_attempt)
    return message


def stored_size(task: model.NewTask, queue: str, now: float) -> int:
    """Bytes of a task as it will be stored: its FULL form, defaults filled in, serialised."""
    message = Task(name=f"{queue}/tasks/{task.name or '0' * _SYSTEM_NAME_LENGTH}")
    message.create_time.seconds = int(now)
    set_time(message.schedule_time, task.schedule_at or now)
    set_time(message.dispatch_deadline, task.dispatch_deadline)
    _fill_request(message.http_request, task.target, with_body=True)
    size: int = message.ByteSize()
    return size


def _fill_request(message: Message, target: model.Target, *, with_body: bool) -> None:
    assert isinstance(target, model.HttpTarget)
    message.url = target.url
    message.http_method = METHOD_NUMBERS[target.method]
    message.headers.update(target.headers)
    if with_body:
        message.body = target.body
    token = target.authorization
    if isinstance(token, model.OidcToken):
        message.oidc_token.service_account_email = token.service_account_email
        message.oidc_token.audience = token.audience


def _fill_attempt(message: Message, attempt: model.Attempt) -> None:
    set_time(message.schedule_time, attempt.scheduled_at)
    set_time(message.dispatch_time, attempt.dispatched_at)
    if attempt.responded_at is None:
        return
    set_time(message.response_time, attempt.responded_at)
    if attempt.status is None:
        code, text = Code.DEADLINE_EXCEEDED, attempt.error
    else:
        code, text = _code_of(attempt.status), f"HTTP status code {attempt.status}"
    message.response_status.code = code
    message.response_status.message = f"{code.name}({code.value}): {text}"


def _code_of(status: int) -> Code:
    return Code.OK if 200 <= status < 300 else _CODES.get(status, Code.UNKNOWN)
