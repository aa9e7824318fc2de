"""Clocks that tests move."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.clock import SharedClock

READ = """import sys
from pathlib import Path
from headrace.clock import SharedClock
print(SharedClock(Path(sys.argv[1])).now())
"""


def test_a_new_shared_clock_is_the_machines(tmp_path: Path) -> None:
    clock = SharedClock(tmp_path / "clock")
    before = time.time()
    assert before <= clock.now() <= time.time()


def test_all_who_share_the_file_see_time_move_at_once(tmp_path: Path) -> None:
    mover, reader = SharedClock(tmp_path / "clock"), SharedClock(tmp_path / "clock")
    mover.advance(86_400)
    mover.advance(0.5)
    before = time.time()
    assert before + 86_400.5 <= reader.now() <= time.time() + 86_400.5


def test_another_process_and_a_later_one_see_the_same_time(tmp_path: Path) -> None:
    SharedClock(tmp_path / "clock").advance(1e6)
    ended = subprocess.run([sys.executable, "-c", READ, str(tmp_path / "clock")], capture_output=True, text=True)
    assert time.time() + 1e6 - 60 < float(ended.stdout) < time.time() + 1e6


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_time_does_not_run_backwards(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match="backwards"):
        SharedClock(tmp_path / "clock").advance(seconds)


def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "queue.yaml"
    path.write_text("queue: []\n")
    with pytest.raises(ValueError, match="no test clock"):
        SharedClock(path)
    assert path.read_text() == "queue: []\n"


def test_a_file_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SharedClock(tmp_path / "missing" / "clock")
