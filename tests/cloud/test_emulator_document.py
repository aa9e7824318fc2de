"""The Python of docs/emulator.md runs as it stands."""

import re
from pathlib import Path
from urllib.request import urlopen

import pytest

from headrace.cli.emulator import command
from tests.cloud.conftest import start_server, stop_server

DOCUMENT = (Path(__file__).parent.parent.parent / "docs/emulator.md").read_text()


def test_the_snippet_creates_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    server = start_server("--memory", "--project=headrace-dev", "--location=local")
    names: dict[str, object] = {}
    exec(compile(snippet.replace("127.0.0.1:8123", server.grpc), "docs/emulator.md", "exec"), names)
    names["channel"].close()  # type: ignore[attr-defined]
    path = re.search(r"curl http://127.0.0.1:8124(\S+)", DOCUMENT)
    assert path is not None
    with urlopen(server.rest + path[1]) as deliveries:
        assert deliveries.status == 200
    assert stop_server(server) == 0
    assert capsys.readouterr().out.startswith("projects/headrace-dev/locations/local/queues/work/tasks/")


def test_every_option_is_in_the_table() -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert not {option for option in options if f"`{option}" not in DOCUMENT}
