"""The engine's tasks as Cloud Tasks messages."""

from headrace.cloud.descriptors import Message, set_time
from headrace.cloud.errors import Code
from headrace.cloud.http_codes import code_of
from headrace.cloud.routing import fill_routing
from headrace.cloud.tasks.messages import BASIC, FULL, METHOD_NUMBERS, Task
from headrace.engine import model
from headrace.retries import RetryLimits

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
    _fill_request(message, task, task.queue, with_body=view == FULL)
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
    _fill_request(message, task, queue, with_body=True)
    size: int = message.ByteSize()
    return size


def _fill_request(message: Message, task: model.Task | model.NewTask, queue: str, *, with_body: bool) -> None:
    """What a task is created with. The default deadline of an App Engine target is not stored, so not shown."""
    target = task.target
    if isinstance(target, model.AppEngineTarget):
        request = message.app_engine_http_request
        request.relative_uri = target.relative_uri
        fill_routing(request.app_engine_routing, target.routing, queue)
    else:
        request = message.http_request
        request.url = target.url
        fill_authorization(request, target.authorization, audience=target.url)
    request.http_method = METHOD_NUMBERS[target.method]
    headers = request.headers
    for name, value in target.headers:
        headers[name] = value
    if with_body:
        request.body = target.body
    if task.dispatch_deadline:
        set_time(message.dispatch_deadline, task.dispatch_deadline)
    if task.retry is not None:
        fill_retry(message.retry_config, task.retry)


def fill_authorization(message: Message, token: model.Authorization | None, *, audience: str = "") -> None:
    """Fill the token of an HttpRequest or an HttpTarget; `audience` stands in for one that was left out."""
    if isinstance(token, model.OidcToken):
        message.oidc_token.service_account_email = token.service_account_email
        message.oidc_token.audience = token.audience or audience
    elif token is not None:
        message.oauth_token.service_account_email = token.service_account_email
        message.oauth_token.scope = token.scope


def fill_retry(message: Message, limits: RetryLimits) -> None:
    """Fill a RetryConfig; a duration without limit is left out."""
    message.max_attempts = limits.max_attempts
    message.max_doublings = limits.max_doublings
    set_time(message.min_backoff, limits.min_backoff)
    set_time(message.max_backoff, limits.max_backoff)
    if limits.max_duration:
        set_time(message.max_retry_duration, limits.max_duration)


def _fill_attempt(message: Message, attempt: model.Attempt) -> None:
    set_time(message.schedule_time, attempt.scheduled_at)
    set_time(message.dispatch_time, attempt.dispatched_at)
    if attempt.responded_at is None:
        return
    set_time(message.response_time, attempt.responded_at)
    if attempt.status is None:
        code, text = Code.DEADLINE_EXCEEDED, attempt.error
    else:
        code, text = code_of(attempt.status), f"HTTP status code {attempt.status}"
    message.response_status.code = code
    message.response_status.message = f"{code.name}({code.value}): {text}"
