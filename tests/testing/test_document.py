"""The examples of docs/testing.md run as they stand."""

from pathlib import Path

from headrace.testing.server import QueueServer
from headrace.testing.service import ServiceUnderTest
from tests.examples.fences import fences_of
from tests.testing.test_plugin import run_pytest

DOCUMENT = "docs/testing.md"


def run_example(folder: Path, name: str) -> str:
    (example,) = [fence for fence in fences_of(DOCUMENT) if fence.file == name]
    (folder / name).write_text(example.text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    ended = run_pytest(folder)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_the_example_with_a_queue_server_runs(tmp_path: Path) -> None:
    assert "2 passed" in run_example(tmp_path, "test_orders.py")


def test_the_example_with_a_service_runs_beside_the_files_of_the_readme(tmp_path: Path) -> None:
    for fence in fences_of("README.md"):
        if fence.file:
            (tmp_path / fence.file).write_text(fence.text)
    assert "3 passed" in run_example(tmp_path, "test_rivers.py")


def test_the_setting_is_the_plugins(tmp_path: Path) -> None:
    (setting,) = [fence.text for fence in fences_of(DOCUMENT) if fence.language == "ini"]
    (tmp_path / "pytest.ini").write_text(setting)
    (tmp_path / "queue.yaml").write_text("queue:\n- name: orders\n  rate: 5/s\n")
    (tmp_path / "test_setting.py").write_text(
        "def test_it(queue_server):\n    assert queue_server.parent == 'projects/shop/locations/europe-west1'\n"
    )
    ended = run_pytest(tmp_path)
    assert ended.returncode == 0, ended.stdout


def test_every_name_of_the_service_is_in_its_table() -> None:
    text = (Path(__file__).parents[2] / DOCUMENT).read_text()
    public = {name for name in vars(ServiceUnderTest) if not name.startswith("_")} - {"close"}
    public |= {f"queue.{name}" for name in ("deliver_next", "drain", "pushed", "purge")}
    assert not {name for name in public if f"`{name}" not in text}


def test_every_name_in_the_table_is_the_servers() -> None:
    text = (Path(__file__).parents[2] / DOCUMENT).read_text()
    public = {name for name in vars(QueueServer) if not name.startswith("_")} - {"stop", "close", "said"}
    assert not {name for name in public if f"`{name}" not in text}
