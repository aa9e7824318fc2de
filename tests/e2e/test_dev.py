"""`headrace dev`: what it prints, what works beside it, how it ends, and when it refuses to start."""

import json
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.e2e.site import JOB, QUEUE, WAIT, copy_application, fill, free_ports, kill, wait_until

HEADRACE = [sys.executable, "-m", "headrace"]


@dataclass(frozen=True)
class Dev:
    """A `headrace dev` that has started: its process, what it printed, and the ports that it was given."""

    application: Path
    process: subprocess.Popen[str]
    guide: str
    ports: list[int]

    @property
    def token(self) -> str:
        found = re.search(r"Authorization: Bearer ([\w-]+)", self.guide)
        assert found is not None
        return found[1]

    def curl_line(self, path: str) -> str:
        """The printed line that calls `path`."""
        (line,) = [line for line in self.guide.splitlines() if "curl" in line and line.endswith(path)]
        return line.strip()

    def run(self, *arguments: str) -> str:
        """What `headrace …` prints in the application's folder, from a process of its own."""
        ended = subprocess.run(
            [*HEADRACE, *arguments], cwd=self.application, capture_output=True, text=True, timeout=WAIT
        )
        assert ended.returncode == 0, ended
        return ended.stdout

    def parts(self) -> list[psutil.Process]:
        """All that it has started, and what these have started."""
        return processes_of(self.application)

    def part(self, word: str) -> psutil.Process:
        """The one that it has started itself with `word` on its command line."""
        (found,) = [each for each in self.parts() if each.ppid() == self.process.pid and word in each.cmdline()]
        return found


def processes_of(application: Path) -> list[psutil.Process]:
    """Every process that was started for the application, whoever its parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HEADRACE_APP") == str(application):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def options(ports: list[int]) -> list[str]:
    names = ("--port", "--grpc-port", "--rest-port")
    return [f"{name}={port}" for name, port in zip(names, ports, strict=True)]


@contextmanager
def run_dev(application: Path) -> Iterator[Dev]:
    ports = free_ports(3)
    with subprocess.Popen(
        [*HEADRACE, "dev", *options(ports)],
        cwd=application,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            guide = ""
            for line in process.stdout:
                guide += line
                if "Ctrl-C" in line:
                    break
            yield Dev(application, process, guide, ports)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


@pytest.fixture
def application(tmp_path: Path) -> Path:
    return copy_application(tmp_path / "application")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One that runs on, for 230 users."""
    application = copy_application(tmp_path_factory.mktemp("dev") / "application")
    (application / ".headrace").mkdir()
    fill(f"sqlite:///{application / '.headrace' / 'application.db'}", 230)
    with run_dev(application) as running:
        yield running


def test_it_prints_addresses_and_a_line_for_each_cron_endpoint(dev: Dev) -> None:
    service, grpc_port, rest_port = dev.ports
    assert f"http://127.0.0.1:{service}" in dev.guide
    assert f"127.0.0.1:{grpc_port} (gRPC)" in dev.guide
    assert f"http://127.0.0.1:{rest_port} (REST)" in dev.guide
    contract = (dev.application / "openapi.yaml").read_text()
    for path in re.findall(r"^  (/v1/cron/\S+):$", contract, re.MULTILINE):
        assert f"http://127.0.0.1:{service}{path}" in dev.curl_line(path)


def test_the_printed_lines_start_a_job_and_show_how_far_it_is(dev: Dev) -> None:
    started = curl(dev.curl_line(JOB))
    assert started.startswith("HTTP/1.1 204")
    found = re.search(r"^X-Run-Id: (\w+)", started, re.MULTILINE)
    assert found is not None
    run_id = found[1]

    watched = dev.run("runs", "watch", run_id)
    assert "completed" in watched
    shown = json.loads(curl(f"{dev.curl_line('/api/v1/runs')}/{run_id}"))
    assert (shown["state"], shown["progress"], shown["items"], shown["tasks"]["done"]) == ("completed", 1, 230, 5)
    assert json.loads(dev.run("runs", "show", run_id, "--json")) == shown
    assert "230 of 230 done" in dev.run("runs", "show", run_id)
    assert run_id in [run["run_id"] for run in json.loads(dev.run("runs", "list", "--json"))]
    assert "5 of 5" in dev.run("runs", "list")
    queues = {queue["queue"]: queue["state"] for queue in json.loads(dev.run("queues", "list", "--json"))}
    assert queues[QUEUE] == "running"
    assert QUEUE in dev.run("queues", "list")


def test_the_admin_api_wants_the_printed_token(dev: Dev) -> None:
    line = dev.curl_line("/api/v1/runs")
    assert "runs" in json.loads(curl(line))
    assert json.loads(curl(line.replace(dev.token, "another")))["statusCode"] == 401


def curl(line: str) -> str:
    """What a line prints that starts with curl."""
    ended = subprocess.run([*shlex.split(line), "--silent"], capture_output=True, text=True, timeout=WAIT)
    assert ended.returncode == 0, ended
    return ended.stdout


def test_ctrl_c_stops_everything(application: Path) -> None:
    with run_dev(application) as dev:
        assert len(dev.parts()) >= 3
        dev.process.send_signal(signal.SIGINT)
        assert dev.process.wait(15) == 0
        assert dev.parts() == []
        assert not (application / ".headrace" / "running.json").exists()


def test_a_second_ctrl_c_leaves_nothing_behind(application: Path) -> None:
    with run_dev(application) as dev:
        service = dev.part("gunicorn")
        service.suspend()
        dev.process.send_signal(signal.SIGINT)
        # The address is taken away before the parts are stopped; the suspended one does not stop by itself.
        address = application / ".headrace" / "running.json"
        wait_until("The stop", lambda: not address.exists())
        dev.process.send_signal(signal.SIGINT)
        dev.process.wait(15)
        assert dev.parts() == []


@pytest.mark.parametrize(("word", "name"), [("emulator", "queue server"), ("gunicorn", "service")])
def test_the_death_of_a_part_stops_the_rest_and_is_told(application: Path, word: str, name: str) -> None:
    with run_dev(application) as dev:
        kill(dev.part(word))
        assert dev.process.wait(15) == 1
        assert dev.process.stdout is not None
        assert f"The {name} was killed by SIGKILL" in dev.process.stdout.read()
        assert dev.parts() == []


def refusal(application: Path, *given: str) -> str:
    """The one line that a start which must fail leaves, without a part that runs on."""
    ended = subprocess.run(
        [*HEADRACE, "dev", *options(free_ports(3)), *given],
        cwd=application,
        capture_output=True,
        text=True,
        timeout=WAIT,
    )
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    assert processes_of(application) == []
    (line,) = ended.stderr.splitlines()
    assert line.startswith("headrace dev: ")
    return line


@pytest.mark.parametrize("option", ["--port", "--grpc-port", "--rest-port"])
def test_a_taken_port_is_named(application: Path, taken_port: int, option: str) -> None:
    line = refusal(application, f"{option}={taken_port}")
    assert f"Port {taken_port}" in line
    assert "give another port" in line


def test_a_data_folder_that_another_queue_server_holds_is_named_with_the_holder(application: Path) -> None:
    data = application / ".headrace" / "queue-server"
    command = [*HEADRACE, "emulator", "--grpc-port=0", "--rest-port=0", f"--data={data}", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert json.loads(holder.stdout.readline())["pid"] == holder.pid
            line = refusal(application)
        finally:
            holder.terminate()
    assert str(data) in line
    assert f"process with id {holder.pid}" in line
    assert "Stop that process" in line


def test_a_data_folder_that_cannot_be_written_is_named(application: Path) -> None:
    (application / "file").touch()
    line = refusal(application, f"--data={application / 'file' / 'data'}")
    assert str(application / "file") in line
    assert "--data" in line


def test_a_database_of_a_newer_version_is_refused(application: Path) -> None:
    (application / ".headrace").mkdir()
    database = sqlite3.connect(application / ".headrace" / "application.db")
    database.execute("CREATE TABLE headrace_version (version_num VARCHAR(32) NOT NULL)")
    database.execute("INSERT INTO headrace_version VALUES ('9999')")
    database.commit()
    database.close()
    line = refusal(application)
    assert "version 9999" in line
    assert "Install the newer Headrace" in line
