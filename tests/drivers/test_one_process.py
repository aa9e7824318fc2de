"""A service with its queue inside, as processes: `headrace dev --inline`, and gunicorn."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from headrace.local.address import FILE, Address, find_address
from headrace.local.processes import Parts
from headrace.local.service import ServiceClient
from tests.e2e.site import WAIT, free_ports, wait_until
from tests.testing.parcels import write_application

HEADRACE = [sys.executable, "-m", "headrace"]
GUNICORN = [sys.executable, "-m", "gunicorn", "--config", "python:headrace.service.gunicorn_conf"]


@pytest.fixture
def application(tmp_path: Path) -> Path:
    return write_application(tmp_path)


@contextmanager
def run_dev(application: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `headrace dev --inline` that serves, and what it printed until then."""
    command = [*HEADRACE, "dev", "--inline", *options]
    with subprocess.Popen(
        command, cwd=application, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        guide = ""
        for line in process.stdout:
            guide += line
            if "Ctrl-C" in line:
                break
        try:
            yield process, guide
        finally:
            if process.poll() is None:
                process.kill()


def completes(service: ServiceClient) -> None:
    """Start the job, and wait for the end of its run, which must be a good one."""
    run_id = service.call_cron("/v1/cron/ship")["run_id"]
    wait_until("The end of the run", lambda: service.show_run(run_id)["state"] != "running")
    assert service.show_run(run_id)["state"] == "completed"


def test_dev_inline_is_one_process_and_nothing_else(application: Path) -> None:
    (port,) = free_ports(1)
    with run_dev(application, f"--port={port}") as (process, guide):
        assert f"http://127.0.0.1:{port}" in guide
        assert "in the same process" in guide
        address = find_address({}, application / ".headrace")
        assert address is not None
        completes(ServiceClient(address))
        assert psutil.Process(process.pid).children() == []

        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=WAIT)
        assert process.returncode == 0, printed
        assert printed.endswith("headrace dev: stopped\n")
        assert "Traceback" not in printed
        assert not (application / ".headrace" / FILE).exists()


def test_a_second_dev_inline_says_who_holds_the_data(application: Path) -> None:
    ports = free_ports(2)
    with run_dev(application, f"--port={ports[0]}") as (process, _):
        with run_dev(application, f"--port={ports[1]}") as (second, printed):
            assert second.wait(WAIT) == 1
        assert f"is held by the process with id {process.pid}" in printed


def test_dev_inline_with_another_environment_is_refused(application: Path) -> None:
    with run_dev(application, "--env=staging") as (process, printed):
        assert process.wait(WAIT) == 2
    assert "leave --env out" in printed


def test_under_gunicorn_the_queue_is_in_the_worker(application: Path) -> None:
    (port,) = free_ports(1)
    address = Address(f"http://127.0.0.1:{port}", admin_token="token")
    environment = {
        "HEADRACE_APP": str(application),
        "HEADRACE_DRIVER": "inline",
        "HEADRACE_ADMIN_TOKEN": "token",
        "PORT": str(port),
    }
    logs = application / "logs"
    logs.mkdir()
    with Parts(logs) as parts:
        parts.run("upgrade", [*HEADRACE, "database", "upgrade"], environment, application)
        service = parts.start("service", [*GUNICORN, "headrace.service:create_app()"], environment, application)
        client = ServiceClient(address)
        parts.wait_for("The service", client.is_ready, WAIT)
        (worker,) = psutil.Process(service.process.pid).children()
        completes(client)
        lock = application / ".headrace" / "queue" / "lock"
        assert int(lock.read_text()) == worker.pid
        service.process.terminate()
        assert service.process.wait(WAIT) == 0
        log = service.log.read_text()
        assert "Traceback" not in log
        requests = [line for line in log.splitlines() if "shipping" in line]
        assert len(requests) == 3, json.dumps(requests)
