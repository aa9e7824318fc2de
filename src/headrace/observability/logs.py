"""Logs: one JSON object a line in production, readable lines in development.

Ids of the request, run and task are bound with `structlog.contextvars.bind_contextvars` and stand in every line
until the request ends. No body, token or payload is ever logged. Lines of libraries, which use `logging`, come out
in the same form. `severity`, `message` and `time` are the names that Google's log viewers know.
"""

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
)


def configure_logs(*, development: bool, level: int = logging.INFO) -> None:
    """Set up structlog and `logging`, both to standard output.

    Whoever has given `logging` a handler before keeps it: then lines of libraries go there.
    """
    renderers = _console() if development else _json()
    structlog.configure(
        processors=[*_SHARED, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(),
    )
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))


def _console() -> list[Processor]:
    # Plain tracebacks: the rich ones show local variables, and with them bodies and tokens.
    return [
        structlog.dev.ConsoleRenderer(
            timestamp_key="time",
            colors=sys.stdout.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _json() -> list[Processor]:
    return [structlog.processors.format_exc_info, _google_names, structlog.processors.JSONRenderer(_dump)]


def _google_names(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["severity"] = event.pop("level", "info").upper()
    event["message"] = event.pop("event", "")
    return event


def _dump(event: EventDict, **_options: Any) -> str:
    return orjson.dumps(event, default=repr).decode()
