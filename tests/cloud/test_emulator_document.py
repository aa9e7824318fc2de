"""The Python of docs/emulator.md runs as it stands."""

import re
from pathlib import Path

import pytest

from headrace.cli.emulator import command
from tests.cloud.conftest import start_server, stop_server

DOCUMENT = (Path(__file__).parent.parent.parent / "docs/emulator.md").read_text()


def test_the_snippet_creates_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "queue.yaml").write_text("queue:\n- name: work\n  rate: 0/s\n")
    server = start_server(
        "--memory", f"--queues={tmp_path / 'queue.yaml'}", "--project=headrace-dev", "--location=local"
    )
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", server.grpc)
    names: dict[str, object] = {}
    exec(compile(snippet, "docs/emulator.md", "exec"), names)
    names["channel"].close()  # type: ignore[attr-defined]
    assert stop_server(server) == 0
    assert capsys.readouterr().out.startswith("projects/headrace-dev/locations/local/queues/work/tasks/")


def test_every_option_is_in_the_table() -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert not {option for option in options if f"`{option}" not in DOCUMENT}
