"""The token bucket: how many pushes a queue may start, and when the next.

The law: in any span of t seconds, at most `burst + per_second * t` tokens are taken. Times are those given to
`take`; nothing here reads a clock.
"""

import math
from dataclasses import dataclass

from headrace.engine.model import RateLimits

# A token that lacks less than this is whole: the difference is the rounding of clock times, and it is carried
# as debt into the next one, so rates stay exact.
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Bucket:
    """`tokens` as they stood at `updated_at`; whoever looks later adds what has flowed in since."""

    tokens: float
    updated_at: float


def full(limits: RateLimits, at: float) -> Bucket:
    """The bucket of a queue that has rested."""
    return Bucket(float(limits.burst), at)


def refill(bucket: Bucket, limits: RateLimits, at: float) -> Bucket:
    """The bucket as it stands at `at`, never above `burst`. A time before the last one changes nothing."""
    elapsed = at - bucket.updated_at
    if elapsed < 0:
        return bucket
    return Bucket(min(float(limits.burst), bucket.tokens + elapsed * limits.per_second), at)


def take(bucket: Bucket, limits: RateLimits, at: float) -> Bucket | None:
    """The bucket with one token less, or None when no whole token is there at `at`, or the rate is 0."""
    if limits.per_second <= 0:
        return None
    now = refill(bucket, limits, at)
    if now.tokens < 1.0 - _ROUNDING:
        return None
    return Bucket(now.tokens - 1.0, now.updated_at)


def next_at(bucket: Bucket, limits: RateLimits) -> float:
    """The earliest time at which `take` gives a token; infinity when the rate or the burst is 0."""
    if limits.per_second <= 0 or limits.burst < 1:
        return math.inf
    missing = 1.0 - bucket.tokens
    if missing < _ROUNDING:
        return bucket.updated_at
    return bucket.updated_at + missing / limits.per_second
