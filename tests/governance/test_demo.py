"""The demo does the main job from end to end, and leaves nothing behind."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

APP = Path(__file__).resolve().parents[2]


@contextmanager
def demo(data: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "governance.demo", "--data", str(data), *arguments]
    with subprocess.Popen(command, cwd=APP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"the demo never said {words!r}")


def parts_of(data: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HEADRACE_DATA") == str(data):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_the_demo_ends_with_its_result_and_leaves_nothing_behind(tmp_path: Path):
    data = tmp_path / "data"
    with demo(data, "--users", "230", "--seed", "7") as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    last = output.splitlines()[-1]
    assert re.fullmatch(r"demo: OK run=\w+ users=230 tasks=5 attempts=5 seconds=\d+\.\d", last)
    assert re.search(r"check with SQL\s*│\s*OK", output)
    assert "500/s, bucket 500, 12 at once" in output
    assert not data.exists()
    assert parts_of(data) == []


def test_an_interrupted_demo_stops_its_parts(tmp_path: Path):
    data = tmp_path / "data"
    with demo(data, "--users", "20000") as process:
        read_until(process, "GET /v1/cron/synchronizeUserAccess")
        assert len(parts_of(data)) >= 2
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
    assert process.returncode == 130, output
    assert parts_of(data) == []
    assert not data.exists()


def test_a_part_that_dies_is_named_and_the_data_is_kept(tmp_path: Path):
    data = tmp_path / "data"
    with demo(data, "--users", "20000", "--keep") as process:
        read_until(process, "GET /v1/cron/synchronizeUserAccess")
        (server,) = [each for each in parts_of(data) if "emulator" in each.cmdline()]
        server.kill()
        output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "The queue server was killed by SIGKILL" in output
    assert parts_of(data) == []
    assert (data / "application.db").exists()


def test_a_folder_that_holds_something_is_not_used(tmp_path: Path):
    (tmp_path / "mine").write_text("", encoding="utf-8")
    with demo(tmp_path) as process:
        output, _ = process.communicate()
    assert process.returncode == 1
    assert "is not empty" in output
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]
