"""A RetryConfig, checked and made into retry limits; queues and single tasks have the same."""

from headrace.cloud.descriptors import Message
from headrace.cloud.durations import read_duration
from headrace.cloud.errors import invalid
from headrace.retries import RetryLimits

DEFAULT_RETRY = RetryLimits(max_attempts=100, max_duration=0.0, min_backoff=0.1, max_backoff=3600.0, max_doublings=16)
"""What a queue or a task gets that leaves these parts out (defaults of CreateQueue)."""


def read_retry(message: Message, defaults: RetryLimits) -> RetryLimits:
    """Check a RetryConfig; ApiError says what is wrong, in the real service's words.

    What it leaves unset comes from `defaults`. A plain number of 0 is unset: proto3 does not tell the two apart.
    """
    if message.max_attempts < -1:
        raise invalid("RetryConfig.maxAttempts must be greater or equal to -1.")
    if message.max_doublings < 0:
        raise invalid("RetryConfig.maxDoublings cannot be negative.")
    limits = RetryLimits(
        max_attempts=message.max_attempts or defaults.max_attempts,
        max_duration=_read_duration(message, "max_retry_duration", "maxRetryDuration", defaults.max_duration),
        min_backoff=_read_duration(message, "min_backoff", "minBackoff", defaults.min_backoff),
        max_backoff=_read_duration(message, "max_backoff", "maxBackoff", defaults.max_backoff),
        max_doublings=message.max_doublings or defaults.max_doublings,
    )
    if limits.min_backoff > limits.max_backoff:
        raise invalid("RetryConfig.minBackoff must be less than or equal to RetryConfig.maxBackoff.")
    return limits


def _read_duration(message: Message, field: str, shown: str, default: float) -> float:
    return read_duration(getattr(message, field), f"RetryConfig.{shown}") if message.HasField(field) else default
