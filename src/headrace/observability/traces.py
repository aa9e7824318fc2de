"""W3C trace context: which trace a request belongs to, carried from a job's request to the handlers of its tasks.

One header, `traceparent`, as its caller wrote it: Headrace makes no spans of its own, so what an application or a
proxy makes hangs together, with nothing in between. Where an application uses OpenTelemetry, its spans in a handler
have the context of the push for their parent.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
"""

import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

HEADER = "traceparent"
_VERSION_0 = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_current: ContextVar[str | None] = ContextVar("headrace_trace", default=None)


def begin(given: str | None) -> str:
    """The request that is handled from now on has this trace context, or a new one where it is none; which it is."""
    trace = given if given is not None and _VERSION_0.match(given) else _make()
    _current.set(trace)
    return trace


def current() -> str | None:
    """The trace context of the request that is handled now, or None."""
    return _current.get()


def trace_id(trace: str) -> str:
    """The 32 hex digits that all parts of a trace share."""
    return trace[3:35]


def span_id(trace: str) -> str:
    """The 16 hex digits of the caller's span."""
    return trace[36:52]


@contextmanager
def handed_on() -> Iterator[None]:
    """Within the block, OpenTelemetry knows the trace context of the request, where the application uses it."""
    context, trace = sys.modules.get("opentelemetry.context"), _current.get()
    if context is None or trace is None:
        yield
        return
    token = context.attach(_remote(trace))
    try:
        yield
    finally:
        context.detach(token)


def _make() -> str:
    # Marked as sampled: OpenTelemetry's usual samplers would drop all that happens under one that is not.
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def _remote(trace: str) -> Any:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    flags = TraceFlags(int(trace[53:55], 16))
    return set_span_in_context(
        NonRecordingSpan(
            SpanContext(int(trace_id(trace), 16), int(span_id(trace), 16), is_remote=True, trace_flags=flags)
        )
    )
