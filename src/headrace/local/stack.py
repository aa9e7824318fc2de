"""The two parts of Headrace on one machine, joined as in production: the queue server and the service."""

import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import StartError
from headrace.local.address import Address, write_address
from headrace.local.processes import Parts
from headrace.local.service import ServiceClient

START_TIMEOUT = 60.0
HOST = "127.0.0.1"
# What the caller's shell says of another service, or of a platform, is not meant for this one.
_FOREIGN = ("HEADRACE_", "CLOUD_TASKS_", "GOOGLE_", "GAE_", "K_")


@dataclass(frozen=True, slots=True)
class Stack:
    """How to run the application in `folder`. Port 0 picks a free one.

    `environment` names the overlays of queue.yaml and cron.yaml. `variables` go to the service on top of what
    the stack itself sets.
    """

    folder: Path
    data: Path
    environment: str = "development"
    service_port: int = 0
    grpc_port: int = 0
    rest_port: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)

    def start(self, parts: Parts) -> Address:
        """Bring the database up to date and start both parts; back when they serve.

        The address is left in the data folder, too, for commands in another terminal.

        Raises:
            StartError: a port is taken, the data folder cannot be used, or a part ended; it says what to do.
        """
        make_folder(self.data)
        port = self.service_port or _free_port()
        refuse_taken(port, "the service")
        for name, wanted in (("gRPC", self.grpc_port), ("REST", self.rest_port)):
            if wanted:
                refuse_taken(wanted, f"the queue server's {name} side")
        token = secrets.token_urlsafe(24)
        variables = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        variables |= {
            "HEADRACE_APP": str(self.folder),
            "HEADRACE_ENV": "development",
            "HEADRACE_DATA": str(self.data),
            "HEADRACE_SERVICE_URL": f"http://{HOST}:{port}",
            "HEADRACE_ADMIN_TOKEN": token,
            "PORT": str(port),
            **self.variables,
        }
        parts.run("database upgrade", [*_headrace(), "database", "upgrade"], variables, self.folder)
        queue_server = self._start_queue_server(parts, variables)
        variables |= {
            "CLOUD_TASKS_EMULATOR_HOST": queue_server["grpc"],
            "HEADRACE_QUEUE_SERVER_URL": queue_server["rest"],
            "HEADRACE_TOKEN_ISSUER": queue_server["issuer"],
        }
        command = [sys.executable, "-m", "gunicorn", "--config", "python:headrace.service.gunicorn_conf"]
        parts.start("service", [*command, "headrace.service:create_app()"], variables, self.folder)
        address = Address(f"http://{HOST}:{port}", queue_server["grpc"], queue_server["rest"], token)
        parts.wait_for("The service", ServiceClient(address).is_ready, START_TIMEOUT)
        write_address(self.data, address)
        return address

    def _start_queue_server(self, parts: Parts, variables: Mapping[str, str]) -> dict[str, str]:
        ready = self.data / "queue-server.json"
        ready.unlink(missing_ok=True)
        command = [*_headrace(), "emulator", "--grpc-port", str(self.grpc_port), "--rest-port", str(self.rest_port)]
        command += ["--data", str(self.data / "queue-server"), "--ready-file", str(ready)]
        command += ["--queues", "queue.yaml", "--cron", "cron.yaml", "--env", self.environment]
        command += ["--service-url", variables["HEADRACE_SERVICE_URL"]]
        parts.start("queue server", command, variables, self.folder)
        parts.wait_for("The queue server", ready.exists, START_TIMEOUT)
        addresses: dict[str, str] = json.loads(ready.read_bytes())
        return addresses


def _headrace() -> list[str]:
    return [sys.executable, "-m", "headrace"]


def make_folder(data: Path) -> None:
    """Make the data folder where it is missing. StartError when it cannot be written."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        probe = data / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartError(
            f"The data folder {data} cannot be written: {error.strerror}.",
            hint="Give one that can be: --data, or HEADRACE_DATA.",
        ) from error


def refuse_taken(port: int, part: str) -> None:
    """StartError when somebody listens on the port that `part` is to have."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StartError(
                f"Port {port} for {part} is taken.", hint="Stop what listens there, or give another port."
            ) from error


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
