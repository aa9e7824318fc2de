"""The example of docs/testing.md runs as it stands."""

from pathlib import Path

from headrace.testing.server import QueueServer
from tests.examples.fences import fences_of
from tests.testing.test_plugin import run_pytest

DOCUMENT = "docs/testing.md"


def test_the_example_runs(tmp_path: Path) -> None:
    (example,) = [fence for fence in fences_of(DOCUMENT) if fence.file]
    (tmp_path / example.file).write_text(example.text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    ended = run_pytest(tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout


def test_the_setting_is_the_plugins(tmp_path: Path) -> None:
    (setting,) = [fence.text for fence in fences_of(DOCUMENT) if fence.language == "ini"]
    (tmp_path / "pytest.ini").write_text(setting)
    (tmp_path / "queue.yaml").write_text("queue:\n- name: orders\n  rate: 5/s\n")
    (tmp_path / "test_setting.py").write_text(
        "def test_it(queue_server):\n    assert queue_server.parent == 'projects/shop/locations/europe-west1'\n"
    )
    ended = run_pytest(tmp_path)
    assert ended.returncode == 0, ended.stdout


def test_every_name_in_the_table_is_the_servers() -> None:
    text = (Path(__file__).parents[2] / DOCUMENT).read_text()
    public = {name for name in vars(QueueServer) if not name.startswith("_")} - {"stop", "close", "said"}
    assert not {name for name in public if f"`{name}" not in text}
