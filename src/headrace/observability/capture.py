"""What a handler logs in one attempt, by structlog or `logging`, kept beside the attempt: the last lines of it."""

import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, NamedTuple

from structlog.typing import EventDict, WrappedLogger

MAX_LINES = 200
MAX_CHARACTERS = 64 * 1024
"""Of all lines of an attempt together; one line has an eighth of it."""
# In every line of the attempt, or known of it anyway.
_KNOWN = frozenset(
    {"event", "level", "time", "exc_info", "run_id", "batch", "attempt", "task", "queue", "handler", "operation"}
    | {"trace", "span"}
)


class Line(NamedTuple):
    """One line: its time as ISO 8601 in UTC, the level's name in lower case, and its text with its fields."""

    at: str
    level: str
    text: str


class Lines:
    """The last lines of an attempt: at most `MAX_LINES`, and `MAX_CHARACTERS` in all. Thread-safe."""

    __slots__ = ("_characters", "_kept", "_left_out", "_lock")

    def __init__(self) -> None:
        self._kept: deque[Line] = deque()
        self._characters = 0
        self._left_out = 0
        self._lock = threading.Lock()

    def add(self, line: Line) -> None:
        """Keep a line; the oldest ones make room for it."""
        line = line._replace(text=line.text[: MAX_CHARACTERS // 8])
        with self._lock:
            self._kept.append(line)
            self._characters += len(line.text)
            while len(self._kept) > MAX_LINES or self._characters > MAX_CHARACTERS:
                self._characters -= len(self._kept.popleft().text)
                self._left_out += 1

    def take(self) -> tuple[list[Line], int]:
        """The lines since the last call, and how many before them were left out."""
        if not self._kept:
            return [], 0
        with self._lock:
            taken, left_out = list(self._kept), self._left_out
            self._kept.clear()
            self._characters = self._left_out = 0
        return taken, left_out


_lines: ContextVar[Lines | None] = ContextVar("headrace_lines", default=None)


@contextmanager
def captured(lines: Lines) -> Iterator[None]:
    """What is logged within the block is kept in `lines` as well."""
    token = _lines.set(lines)
    try:
        yield
    finally:
        _lines.reset(token)


def capture_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: keeps a line where lines are kept. Stands behind those that add time and level."""
    lines = _lines.get()
    if lines is not None:
        lines.add(Line(str(event.get("time", "")), str(event.get("level", "info")), _text_of(event)))
    return event


class CaptureHandler(logging.Handler):
    """Keeps lines of `logging` where lines are kept."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line. What cannot be formatted is reported as `logging` does it."""
        lines = _lines.get()
        if lines is None:
            return
        try:
            at = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
            lines.add(Line(at, record.levelname.lower(), record.getMessage() + _trace_of(record.exc_info)))
        except Exception:  # noqa: BLE001 - a boundary: a bad format string is its author's, and logging tells of it
            self.handleError(record)


def _text_of(event: EventDict) -> str:
    fields = " ".join(f"{name}={value}" for name, value in event.items() if name not in _KNOWN)
    text = str(event.get("event", ""))
    return (f"{text} {fields}" if fields else text) + _trace_of(event.get("exc_info"))


def _trace_of(exc_info: Any) -> str:
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return "\n" + "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
