"""The engine's queues as Cloud Tasks messages."""

from headrace.cloud.descriptors import Message, set_time
from headrace.cloud.routing import fill_routing
from headrace.cloud.tasks.messages import METHOD_NUMBERS, Queue
from headrace.cloud.tasks.task_answers import fill_authorization, fill_retry
from headrace.engine import model


def queue_message(queue: model.Queue) -> Message:
    """A queue with its limits, its state and what it puts over its tasks."""
    message = Queue(name=queue.name, state=queue.state.value)
    limits = message.rate_limits
    limits.max_dispatches_per_second = queue.rate.per_second
    limits.max_burst_size = queue.rate.burst
    limits.max_concurrent_dispatches = queue.rate.concurrency
    fill_retry(message.retry_config, queue.retry)
    if queue.purged_at is not None:
        set_time(message.purge_time, queue.purged_at)
    if queue.routing is not None:
        fill_routing(message.app_engine_routing_override, queue.routing, queue.name)
    if queue.http_overrides is not None:
        _fill_overrides(message.http_target, queue.http_overrides)
    if queue.log_sampling is not None:
        message.stackdriver_logging_config.SetInParent()
        message.stackdriver_logging_config.sampling_ratio = queue.log_sampling
    return message


def _fill_overrides(message: Message, overrides: model.HttpOverrides) -> None:
    message.SetInParent()
    if overrides.uri is not None:
        _fill_uri(message.uri_override, overrides.uri)
    if overrides.method is not None:
        message.http_method = METHOD_NUMBERS[overrides.method]
    for key, value in overrides.headers:
        header = message.header_overrides.add().header
        header.key, header.value = key, value
    fill_authorization(message, overrides.authorization)


def _fill_uri(message: Message, uri: model.UriOverride) -> None:
    if uri.scheme is not None:
        message.scheme = uri.scheme.upper()
    if uri.host is not None:
        message.host = uri.host
    if uri.port is not None:
        message.port = uri.port
    if uri.path is not None:
        message.path_override.SetInParent()
        message.path_override.path = uri.path
    if uri.query is not None:
        message.query_override.SetInParent()
        message.query_override.query_params = uri.query
    message.uri_override_enforce_mode = "IF_NOT_EXISTS" if uri.only_if_missing else "ALWAYS"
