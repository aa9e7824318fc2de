"""Parts are started, watched and stopped; none stays behind."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from headrace.errors import StartError
from headrace.local import processes
from headrace.local.processes import Part, Parts

WAIT = "import signal; print('serving', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('serving', flush=True); signal.pause()"


def start(parts: Parts, folder: Path, code: str, name: str = "mill") -> Part:
    part = parts.start(name, [sys.executable, "-c", code], os.environ, folder)
    parts.wait_for("The word", lambda: "serving" in part.tail(), 20)
    return part


def test_parts_are_stopped_when_the_block_ends(tmp_path: Path):
    with Parts(tmp_path) as parts:
        one, two = start(parts, tmp_path, WAIT), start(parts, tmp_path, WAIT, "wheel")
        parts.check()
        assert psutil.pid_exists(one.process.pid)
    assert one.process.returncode == two.process.returncode == -15


def test_parts_are_stopped_when_the_block_fails(tmp_path: Path):
    started: list[Part] = []

    def fail_with_a_part() -> None:
        with Parts(tmp_path) as parts:
            started.append(start(parts, tmp_path, WAIT))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_with_a_part()
    assert started[0].process.returncode == -15


def test_a_part_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "STOP_TIMEOUT", 0.1)
    with Parts(tmp_path) as parts:
        part = start(parts, tmp_path, DEAF)
    assert part.process.returncode == -9


def test_a_part_that_dies_is_named_with_its_last_words(tmp_path: Path):
    with Parts(tmp_path) as parts:
        part = start(parts, tmp_path, "print('serving'); raise SystemExit('the wheel broke')")
        part.process.wait()
        with pytest.raises(StartError, match=r"(?s)The mill ended with status 1.*the wheel broke"):
            parts.check()


def test_a_part_that_was_killed_is_told_as_such(tmp_path: Path):
    with Parts(tmp_path) as parts:
        part = start(parts, tmp_path, WAIT)
        part.process.kill()
        part.process.wait()
        with pytest.raises(StartError, match="The mill was killed by SIGKILL"):
            parts.wait_for("The end", lambda: False, 20)


def test_a_command_that_fails_stops_the_start(tmp_path: Path):
    with Parts(tmp_path) as parts:
        parts.run("fine", [sys.executable, "-c", ""], os.environ, tmp_path)
        with pytest.raises(StartError, match=r"(?s)The upgrade ended with status 3"):
            parts.run("upgrade", [sys.executable, "-c", "raise SystemExit(3)"], os.environ, tmp_path)


def test_waiting_has_an_end(tmp_path: Path):
    with Parts(tmp_path) as parts:
        start(parts, tmp_path, WAIT)
        with pytest.raises(StartError, match=r"(?s)The sea did not come within 0 s. mill said:\nserving"):
            parts.wait_for("The sea", lambda: False, 0)
