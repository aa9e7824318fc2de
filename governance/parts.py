"""The two parts of Headrace on one machine, joined as in production: the queue server and the service."""

import json
import os
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from governance.processes import Parts
from governance.service import Service

APP = Path(__file__).resolve().parent.parent
START_TIMEOUT = 60.0
# What the caller's shell says of another service, or of a platform, is not meant for this one.
_FOREIGN = ("HEADRACE_", "CLOUD_TASKS_", "GOOGLE_", "GAE_", "K_")


@dataclass(frozen=True, slots=True)
class House:
    """Where the parts keep their data, which database they use, and which overlay of queue.yaml and cron.yaml."""

    data: Path
    database_url: str
    queue_environment: str

    def start(self, parts: Parts) -> Service:
        """Bring the database up to date and start both; back when they serve. StartError when one does not."""
        headrace = str(Path(sys.executable).with_name("headrace"))
        port = _free_port()
        token = secrets.token_urlsafe(24)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        environment |= {
            "HEADRACE_APP": str(APP),
            "HEADRACE_ENV": "development",
            "HEADRACE_DATA": str(self.data),
            "HEADRACE_DATABASE_URL": self.database_url,
            "HEADRACE_SERVICE_URL": f"http://127.0.0.1:{port}",
            "HEADRACE_ADMIN_TOKEN": token,
            "HEADRACE_STRICT": "false",
            "PORT": str(port),
        }
        parts.run("database upgrade", [headrace, "database", "upgrade"], environment, APP)
        environment |= self._start_queue_server(parts, headrace, environment)
        gunicorn = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py"]
        parts.start("service", [*gunicorn, "headrace.service:create_app()"], environment, APP)
        service = Service(port, token)
        parts.wait_for("The service", service.is_ready, START_TIMEOUT)
        return service

    def _start_queue_server(self, parts: Parts, headrace: str, environment: dict[str, str]) -> dict[str, str]:
        """Start it on free ports; the settings of a service that uses it."""
        ready = self.data / "queue-server.json"
        command = [headrace, "emulator", "--grpc-port", "0", "--rest-port", "0"]
        command += ["--data", str(self.data / "queue-server"), "--ready-file", str(ready)]
        command += ["--queues", "queue.yaml", "--cron", "cron.yaml", "--env", self.queue_environment]
        command += ["--service-url", environment["HEADRACE_SERVICE_URL"]]
        parts.start("queue server", command, environment, APP)
        parts.wait_for("The queue server", ready.exists, START_TIMEOUT)
        addresses = json.loads(ready.read_bytes())
        return {"CLOUD_TASKS_EMULATOR_HOST": addresses["grpc"], "HEADRACE_TOKEN_ISSUER": addresses["issuer"]}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
