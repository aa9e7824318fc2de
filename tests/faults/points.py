"""Points at which a process can be killed. The test and the processes of the service share them, in files of a folder.

A point has a name: what is done there, by which line, for which endpoint, the first time or a later one. Names
stay when something that comes now and then, such as what is written once a minute, shifts the order.
"""

import os
import re
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

SOURCES = (Path(__file__).resolve().parents[2] / "src/headrace", Path(__file__).parent / "application")
# Every transaction and every push passes here; what asked for it stands above.
_PASSED = ("connection.py", "hold.py", "batch.py", "routing.py")
_ANEW = "anew "


class Points:
    """A process that reaches a point leaves its name, and is killed where it is to be. One process at a time."""

    def __init__(self, folder: Path) -> None:
        self._reached = folder / "reached"
        self._killed = folder / "killed"
        self._order = folder / "kill-at"
        for file in (self._reached, self._killed, self._order):
            file.touch()
        self._before = 0
        self._serves = threading.local()
        self._lock = threading.Lock()

    # The test's side.

    def start(self) -> None:
        """Count anew which time it is that a point is reached."""
        self._reached.write_text("")

    def kill_anew(self, *, of: str = "") -> None:
        """Kill who reaches a point at which nobody was killed yet; with `of`, one of this endpoint."""
        self._give(f"{_ANEW}{_of(of) if of else ''}")

    def kill_at(self, name: str) -> None:
        """Kill who reaches the point of that name."""
        self._give(name)

    def spare(self) -> None:
        """Kill nobody."""
        self._order.write_text("")

    @property
    def struck(self) -> str | None:
        """The point of the kill that was asked for last; None when it has not happened."""
        return next(iter(self.killed[self._before :]), None)

    @property
    def killed(self) -> list[str]:
        """All points at which somebody was killed."""
        return self._killed.read_text().splitlines()

    # The service's side.

    def serve(self, path: str) -> None:
        """Say which endpoint is at work in this thread."""
        self._serves.path = path

    def reach(self, what: str) -> None:
        """Say that this process is at a point."""
        with self._lock:
            point = f"{what}{_place()}{_of(self._serves.path)}"
            time = sum(name.startswith(f"{point} (") for name in self._reached.read_text().splitlines()) + 1
            name = f"{point} ({time})"
            _append(self._reached, name)
            if self._is_to_die(name):
                self._order.write_text("")
                _append(self._killed, name)
                os.kill(os.getpid(), signal.SIGKILL)

    def _is_to_die(self, name: str) -> bool:
        order = self._order.read_text()
        if order.startswith(_ANEW):
            return order.removeprefix(_ANEW) in name and name not in self.killed
        return order == name

    def _give(self, order: str) -> None:
        self._before = len(self.killed)
        self._order.write_text(order)


def _of(path: str) -> str:
    """An endpoint in the name of a point; a number in it is an id, which tells nothing."""
    return f" of {re.sub('/[0-9]+', '/…', path)}"


def _append(file: Path, line: str) -> None:
    with file.open("a") as lines:
        lines.write(f"{line}\n")


def _place() -> str:
    """Which line of the product or of the application is at work."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.name not in _PASSED and any(path.is_relative_to(source) for source in SOURCES):
            return f" in {path.parent.name}/{path.name}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return ""
