"""The application of docs/jobs.md runs as it stands."""

from pathlib import Path

from tests.examples.fences import fences_of
from tests.testing.test_plugin import run_pytest


def test_the_letters_are_sent_once_each_behind_the_barrier(tmp_path: Path) -> None:
    for fence in fences_of("docs/jobs.md"):
        if fence.file:
            (tmp_path / fence.file).write_text(fence.text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    ended = run_pytest(tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout
