"""Logs: one JSON object a line in production, readable lines in development.

Ids of the request, run and task are bound with `structlog.contextvars.bind_contextvars` and stand in every line
until the request ends. No header, body, token or payload is ever logged. Lines of `logging`, the application's and
its libraries', come out in the same form.

In JSON the names are those that Cloud Logging knows: `severity`, `message`, `time`,
`logging.googleapis.com/trace`, `…/spanId`, and `…/labels` with the ids as text.
Source: https://cloud.google.com/logging/docs/structured-logging.
"""

import json
import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from headrace.observability import traces
from headrace.observability.capture import CaptureHandler, capture_event

_PREFIX = "logging.googleapis.com/"
_LABELS = ("run_id", "batch", "attempt", "task", "queue", "job", "handler")
# They say on INFO what each of their steps is.
_TALKATIVE = ("alembic", "google", "httpx", "urllib3", "werkzeug")

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
)


def configure_logs(*, development: bool, project: str = "", level: int = logging.INFO) -> None:
    """Set up structlog and `logging`, both to standard output. `project` is the Google Cloud project of the traces.

    Whoever has given `logging` a handler before keeps it: then lines of `logging` go there.
    """
    renderers = _console() if development else _json(project)
    structlog.configure(
        processors=[*_SHARED, capture_event, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # One write a line: print makes two, and lines of two threads would run into one another.
        logger_factory=structlog.WriteLoggerFactory(),
    )
    root = logging.getLogger()
    is_given = any(not isinstance(handler, CaptureHandler) for handler in root.handlers)
    if not any(isinstance(handler, CaptureHandler) for handler in root.handlers):
        root.addHandler(CaptureHandler())
    if is_given:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root.addHandler(handler)
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _console() -> list[Processor]:
    # Plain tracebacks: the rich ones show local variables, and with them bodies and tokens.
    return [
        structlog.dev.ConsoleRenderer(
            timestamp_key="time",
            colors=sys.stdout.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _json(project: str) -> list[Processor]:
    def name_as_google(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["severity"] = event.pop("level", "info").upper()
        event["message"] = event.pop("event", "")
        trace = event.pop("trace", None)
        if trace is not None:
            event[f"{_PREFIX}trace"] = f"projects/{project}/traces/{traces.trace_id(trace)}"
            event[f"{_PREFIX}spanId"] = traces.span_id(trace)
        labels = {name: str(event.pop(name)) for name in _LABELS if name in event}
        if labels:
            event[f"{_PREFIX}labels"] = labels
        return event

    return [structlog.processors.format_exc_info, name_as_google, structlog.processors.JSONRenderer(_dump)]


def _dump(event: EventDict, **_options: Any) -> str:
    try:
        return orjson.dumps(event, default=repr).decode()
    except TypeError:
        # Half of a surrogate pair, or a number beyond 64 bits: no reason for a line to fail who logs it.
        return json.dumps(event, default=repr)
