"""What README.md tells a newcomer to do does what it says. Ports and folders are the test's own."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from headrace.database import Database
from headrace.local.address import find_address
from headrace.local.service import ServiceClient
from tests.examples.fences import ROOT, Fence, fences_of

BIN = Path(sys.executable).parent
ADDRESS = "http://127.0.0.1:8080"
READY = "Ctrl-C stops everything."
FENCES = fences_of("README.md")
# `env` counts as made: the tests run in an environment that is.
MAKE = f"make --no-print-directory -o env BIN={BIN}"


def block(heading: str, language: str, place: int = 0) -> Fence:
    found = [fence for fence in FENCES if (fence.heading, fence.language) == (heading, language)]
    return found[place]


def execute(command: str, folder: Path, **variables: str) -> str:
    """Run a line as a shell would, in the folder; what it prints. It must succeed."""
    command = command.replace(".venv/bin/", f"{BIN}/")
    ended = subprocess.run(
        shlex.split(command), cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


@dataclass(frozen=True)
class Serving:
    """An application that a dev command serves, and where its data are."""

    folder: Path
    data: Path
    printed: str

    @property
    def service(self) -> ServiceClient:
        address = find_address({}, self.data)
        assert address is not None
        return ServiceClient(address)

    def run(self, command: str) -> str:
        """Run a line of the README against this service and its data."""
        command = command.replace(ADDRESS, self.service.address.service)
        return execute(command, self.folder, HEADRACE_DATA=str(self.data))

    def watch(self, run_id: str) -> None:
        """Wait for the end of a run, which must be a good one."""
        self.run(f".venv/bin/headrace runs watch {run_id}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def serving(command: str, folder: Path, data: Path) -> Iterator[Serving]:
    """Run a dev command of the README on free ports until the block ends; then Ctrl-C."""
    service, grpc, rest = free_ports(3)
    options = f"--port {service} --grpc-port {grpc} --rest-port {rest}"
    line = f"{MAKE} dev USERS=500 ARGS='{options}'" if command == "make dev" else f"{command} {options}"
    arguments = shlex.split(line.replace(".venv/bin/", f"{BIN}/"))
    with subprocess.Popen(
        arguments,
        cwd=folder,
        env={**os.environ, "HEADRACE_DATA": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        printed = []
        try:
            for output in process.stdout:
                printed.append(output)
                if READY in output:
                    break
            assert process.poll() is None, "".join(printed)
            yield Serving(folder, data, "".join(printed))
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.stdout.read()


def test_every_command_block_of_the_readme_is_run_here() -> None:
    headings = [fence.heading for fence in FENCES if fence.language == "sh"]
    assert headings == ["Try it", "Try it", "Write your own job"]


def test_make_demo_ends_well(tmp_path: Path) -> None:
    demo, _ = block("Try it", "sh").commands
    printed = execute(f"{MAKE} {demo.removeprefix('make ')} USERS=120 ARGS='--data {tmp_path / 'data'}'", ROOT)
    assert "demo: OK" in printed.splitlines()[-1]


def test_make_test_runs_pytest() -> None:
    _, test = block("Try it", "sh").commands
    assert "pytest" in execute(f"{MAKE} {test.removeprefix('make ')} ARGS=--version", ROOT)


def test_make_dev_serves_the_reference_application_and_curl_starts_its_job(tmp_path: Path) -> None:
    assert "`make dev`" in (ROOT / "README.md").read_text()
    curl, runs = block("Try it", "sh", 1).commands
    with serving("make dev", ROOT, tmp_path) as application:
        assert f"{application.service.address.service}/v1/cron/synchronizeUserAccess" in application.printed
        assert "seed: 500 users" in application.printed
        assert application.run(curl) == ""
        (started,) = application.service.list_runs(limit=5, job="api.access.synchronize_user_access")
        application.watch(started["run_id"])
        (run,) = json.loads(application.run(f"{runs} --job {started['job']} --json"))
        assert (run["state"], run["items"]) == ("completed", 500)


@pytest.fixture
def rivers(tmp_path: Path) -> Path:
    """The folder of the application that the README shows, and nothing else."""
    folder = tmp_path / "rivers"
    folder.mkdir()
    files = {fence.file: fence.text for fence in FENCES if fence.file}
    assert sorted(files) == ["cron.yaml", "openapi.yaml", "queue.yaml", "rivers.py"]
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def test_the_application_of_the_readme_runs_from_its_cron_call_to_the_end(rivers: Path) -> None:
    check, curl, runs = block("Write your own job", "sh").commands
    assert "fits together" in execute(check, rivers.parent)
    assert "`.venv/bin/headrace dev rivers`" in (ROOT / "README.md").read_text()
    with serving(".venv/bin/headrace dev rivers", rivers.parent, rivers / ".headrace") as application:
        answer = application.run(curl)
        assert " 204 " in answer.splitlines()[0]
        (started,) = application.service.list_runs(limit=5)
        application.watch(started["run_id"])
        (run,) = json.loads(application.run(f"{runs} --json"))
        assert (run["state"], run["items"], run["tasks"]["done"]) == ("completed", 7, 3)
    database = Database(f"sqlite:///{rivers / '.headrace' / 'application.db'}")
    with database.read() as connection:
        measured = connection.execute(text("SELECT river FROM levels ORDER BY river")).scalars().all()
    database.close()
    assert measured == ["Danube", "Elbe", "Loire", "Rhine", "Seine", "Tagus", "Volga"]


def test_the_work_of_the_readmes_job_is_about_thirty_lines(rivers: Path) -> None:
    code = [line for line in (rivers / "rivers.py").read_text().splitlines() if line.strip()]
    assert len(code) <= 30
