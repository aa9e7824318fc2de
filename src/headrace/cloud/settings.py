"""How a queue server is to run, and what it says once it does."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a queue server runs.

    `data` is its folder; None keeps everything in memory. Port 0 picks a free one. `issuer` is what tokens name
    as theirs; None is the server's own REST address. `service_url` is where cron requests go, and the audience
    of their tokens. `environment` names the overlays of the two files.
    """

    host: str
    grpc_port: int
    rest_port: int
    data: Path | None
    queue_file: Path | None
    cron_file: Path | None
    environment: str | None
    project: str
    location: str
    service_url: str
    issuer: str | None
    scheduler_service_account: str


@dataclass(frozen=True, slots=True)
class Started:
    """A server that serves: `grpc` as host:port, `rest` and `issuer` as URLs, and what its files declared.

    `skipped` are the cron jobs that the overlay leaves out, each as (url, reason).
    """

    grpc: str
    rest: str
    issuer: str
    queues: int
    cron_jobs: int
    skipped: tuple[tuple[str, str], ...]
