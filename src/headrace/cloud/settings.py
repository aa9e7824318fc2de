"""How a queue server is to run, and what it says once it does."""

from dataclasses import dataclass, field
from pathlib import Path

from headrace.engine.reach import TargetRule


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a queue server runs.

    `data` is its folder; None keeps everything in memory. Port 0 picks a free one. `issuer` is what tokens name
    as theirs; None is the server's own REST address. `service_url` is where cron requests go, and the audience
    of their tokens. `environment` names the overlays of the two files. `name_memory` and `file_name_memory` are
    how many seconds the names of finished tasks stay taken, in queues made by CreateQueue and in those of a
    queue.yaml, and `queue_name_memory` those of deleted queues.
    `app_engine_urls` are pairs of `SERVICE` or `VERSION.SERVICE` and the base URL that its requests go to; "" is
    all the rest, `service_url` without it. `allowed_targets` are the only ones that pushes may reach; without any,
    everything on loopback, and off loopback public addresses alone. `tls_insecure_targets`: certificates of targets
    are not looked at.
    `pubsub_endpoint` is the base URL that Pub/Sub targets of jobs publish to; None: they fail.
    `test_clock` is the file of a clock that tests move; None is the machine's own time. With `auto_create_queues`
    a task makes its queue where it is missing.
    `grpc_front` is what does HTTP/2 and gRPC: `grpcio`, or `native` (pygrpc-native, where it is installed).
    `token` is what every call must bring; None asks for none (see access.py).
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
    token: str | None = field(default=None, repr=False)
    test_clock: Path | None = None
    auto_create_queues: bool = False
    name_memory: float = 3600.0
    file_name_memory: float = 9 * 86400.0
    queue_name_memory: float = 3 * 86400.0
    pubsub_endpoint: str | None = None
    app_engine_urls: tuple[tuple[str, str], ...] = ()
    allowed_targets: tuple[TargetRule, ...] = ()
    tls_insecure_targets: bool = False
    grpc_front: str = "grpcio"


@dataclass(frozen=True, slots=True)
class Started:
    """A server that serves `project` and `location`: `grpc` as host:port, `rest`, `console` and `issuer` as URLs.

    `console` is None where there is none.
    `queues` and `cron_jobs` count what its files declared; `skipped` are the cron jobs that the overlay leaves
    out, each as (url, reason).
    """

    grpc: str
    rest: str
    console: str | None
    issuer: str
    queues: int
    cron_jobs: int
    project: str
    location: str
    skipped: tuple[tuple[str, str], ...]
