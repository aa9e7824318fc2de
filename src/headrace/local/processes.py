"""Parts as processes: each with a log of its own, and none left behind."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace.errors import StartError

STOP_TIMEOUT = 20.0
TAIL_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Part:
    """One process and the file that takes what it prints."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()


class Parts:
    """Starts processes, watches them, and stops them all when the block ends, the last one first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[Part] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._parts:
                _stop(self._parts[-1].process)
                self._parts.pop()
        finally:
            # A second Ctrl-C: what is left gets no more time, but is not left behind either.
            for part in self._parts:
                _kill(part.process)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Part:
        """Start `command` in `folder`, in a session of its own: Ctrl-C reaches it through us alone, in order."""
        log = self._folder / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own programs
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        part = Part(name, process, log)
        self._parts.append(part)
        return part

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        """Run `command` to its end. StartError when it fails."""
        part = self.start(name, command, environment, folder)
        status = part.process.wait()
        self._parts.remove(part)
        if status:
            raise _ended(part, status)

    def running(self) -> tuple[Part, ...]:
        """The parts that were started and not stopped, in the order of their start."""
        return tuple(self._parts)

    def check(self) -> None:
        """Raise StartError, with the end of its log, for a part that is not running any more."""
        for part in self._parts:
            status = part.process.poll()
            if status is not None:
                raise _ended(part, status)

    def wait_for(self, what: str, ready: Callable[[], bool], timeout: float) -> None:
        """Ask `ready` until it says yes. StartError when a part ends meanwhile, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                last = self._parts[-1]
                raise StartError(f"{what} did not come within {timeout:g} s. {last.name} said:\n{last.tail()}")
            time.sleep(0.05)


def _ended(part: Part, status: int) -> StartError:
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    words = part.tail()
    space = "\n" if "\n" in words else " "
    return StartError(f"The {part.name} {how}. Its last words:{space}{words}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of its session: gunicorn's workers outlive a killed master for a while."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
