"""Google's own clients, connected to a queue server."""

import os
from typing import TYPE_CHECKING

from headrace.errors import StartError

if TYPE_CHECKING:
    from google.cloud.scheduler_v1 import CloudSchedulerClient
    from google.cloud.tasks_v2 import CloudTasksClient

HOST_VARIABLE = "CLOUD_TASKS_EMULATOR_HOST"


def cloud_tasks_client(host: str | None = None) -> "CloudTasksClient":
    """A client of the queue server at `host`, as host:port of its gRPC side, without TLS.

    Without `host` the server is that of CLOUD_TASKS_EMULATOR_HOST; StartError when the variable is not set, so
    that no test reaches the real service. Whoever makes a client closes it: `with cloud_tasks_client() as client`.
    """
    import grpc
    from google.cloud.tasks_v2 import CloudTasksClient
    from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

    return CloudTasksClient(transport=CloudTasksGrpcTransport(channel=grpc.insecure_channel(host or _host())))


def cloud_scheduler_client(host: str | None = None) -> "CloudSchedulerClient":
    """The same for Cloud Scheduler."""
    import grpc
    from google.cloud.scheduler_v1 import CloudSchedulerClient
    from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerGrpcTransport

    return CloudSchedulerClient(transport=CloudSchedulerGrpcTransport(channel=grpc.insecure_channel(host or _host())))


def _host() -> str:
    host = os.environ.get(HOST_VARIABLE)
    if not host:
        raise StartError(f"{HOST_VARIABLE} is not set.", hint="Give it host:port of a queue server's gRPC side.")
    return host
