"""The engine's queues as Cloud Tasks messages."""

from headrace.cloud.descriptors import Message, set_time
from headrace.cloud.messages import Queue
from headrace.engine import model


def queue_message(queue: model.Queue) -> Message:
    """A queue with its limits and its state."""
    message = Queue(name=queue.name, state=queue.state.value)
    limits = message.rate_limits
    limits.max_dispatches_per_second = queue.rate.per_second
    limits.max_burst_size = queue.rate.burst
    limits.max_concurrent_dispatches = queue.rate.concurrency
    retry = message.retry_config
    retry.max_attempts = queue.retry.max_attempts
    retry.max_doublings = queue.retry.max_doublings
    set_time(retry.min_backoff, queue.retry.min_backoff)
    set_time(retry.max_backoff, queue.retry.max_backoff)
    if queue.retry.max_duration:
        set_time(retry.max_retry_duration, queue.retry.max_duration)
    if queue.purged_at is not None:
        set_time(message.purge_time, queue.purged_at)
    return message
