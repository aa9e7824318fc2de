"""Where a running Headrace is: what commands in another terminal need to speak to it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = "running.json"


@dataclass(frozen=True, slots=True)
class Address:
    """`service` and `queue_server_rest` are base URLs, `queue_server` is host:port of the gRPC side."""

    service: str
    queue_server: str | None = None
    queue_server_rest: str | None = None
    admin_token: str | None = field(default=None, repr=False)


def write_address(data: Path, address: Address) -> Path:
    """Leave the address in the data folder, for its owner's eyes alone; the file."""
    path = data / FILE
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(address), file)
    return path


def find_address(environment: Mapping[str, str], data: Path) -> Address | None:
    """The address that the environment names (HEADRACE_SERVICE_URL), or the one that `headrace dev` left."""
    if "HEADRACE_SERVICE_URL" in environment:
        return Address(
            environment["HEADRACE_SERVICE_URL"].rstrip("/"),
            environment.get("CLOUD_TASKS_EMULATOR_HOST"),
            None,
            environment.get("HEADRACE_ADMIN_TOKEN"),
        )
    try:
        return Address(**json.loads((data / FILE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
