"""The service's process by itself."""

import os
import sys
from pathlib import Path

from headrace.local.address import Address
from headrace.local.processes import Parts
from headrace.local.service import ServiceClient
from tests.e2e.site import copy_application, free_ports

GUNICORN = [sys.executable, "-m", "gunicorn", "--config", "python:headrace.service.gunicorn_conf"]
SERVICE = [*GUNICORN, "headrace.service:create_app()"]


def test_a_service_without_a_queue_server_is_ready(tmp_path: Path) -> None:
    application = copy_application(tmp_path / "application")
    port, nobody = free_ports(2)
    environment = os.environ | {
        "HEADRACE_APP": str(application),
        "PORT": str(port),
        "CLOUD_TASKS_EMULATOR_HOST": f"127.0.0.1:{nobody}",
        "HEADRACE_TOKEN_ISSUER": f"http://127.0.0.1:{nobody}",
    }
    with Parts(tmp_path) as parts:
        parts.run("upgrade", [sys.executable, "-m", "headrace", "database", "upgrade"], environment, application)
        service = parts.start("service", SERVICE, environment, application)
        client = ServiceClient(Address(f"http://127.0.0.1:{port}"))
        parts.wait_for("The service", client.is_ready, 30)
        assert client.get("/readyz") == {"status": "ready", "reason": None}
        assert "Traceback" not in service.log.read_text()
