"""`headrace queues`: what concerns the queues of an application."""

import json
import os
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from headrace.cli.faults import count, report, summarise
from headrace.config import load_queue_file
from headrace.config.settings import load_settings
from headrace.drivers.cloudtasks import authorization
from headrace.errors import ConfigError, DriverError, Fault, StartError
from headrace.local.address import find_address


@click.group()
def command() -> None:
    """Show the queues of a queue server; judge queue.yaml."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--env", "environment", metavar="NAME", help="Lay queue.NAME.yaml beside it over the file first.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of faults instead of lines.")
def check(file: Path, environment: str | None, as_json: bool) -> None:
    """Judge one queue.yaml, by itself.

    Prints each fault as file:line:column and what to do about it. Exit status 1 when there is an error;
    warnings change nothing.
    """
    faults: tuple[Fault, ...]
    try:
        loaded = load_queue_file(file, environment)
    except ConfigError as error:
        faults, content = error.faults, ""
    else:
        faults, content = loaded.warnings, count(len(loaded.queues), "queue")
    report(faults, summarise(file, faults, content), as_json=as_json)


@command.command("list")
@click.option(
    "--app", "folder", type=click.Path(file_okay=False, path_type=Path), default=".", help="The application's folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_queues(folder: Path, as_json: bool) -> None:
    """List the queues of a running queue server, with their state and limits.

    Asks the one that `headrace dev` started in the application's folder, or that CLOUD_TASKS_EMULATOR_HOST names.
    """
    settings = load_settings(os.environ, folder=folder)
    address = find_address(os.environ, settings.data)
    host = settings.tasks_emulator or (address.queue_server if address else None)
    if host is None:
        raise StartError(
            f"No queue server is known in {folder}.",
            hint="Start one by: headrace dev. Or set CLOUD_TASKS_EMULATOR_HOST to its host:port.",
        )
    parent = f"projects/{settings.project}/locations/{settings.location}"
    queues = _ask(host, parent, authorization(settings.queue_server_token))
    if as_json:
        click.echo(json.dumps(queues))
        return
    table = Table("queue", "state", "rate", "bucket", "at once", "attempts")
    for queue in queues:
        attempts = "no limit" if queue["max_attempts"] == -1 else str(queue["max_attempts"])
        table.add_row(
            queue["name"],
            queue["state"],
            f"{queue['rate_per_second']:g}/s",
            str(queue["bucket_size"]),
            str(queue["max_concurrent_requests"]),
            attempts,
        )
    Console().print(table)


def _ask(host: str, parent: str, metadata: list[tuple[str, str]]) -> list[dict[str, Any]]:
    # Imported here: the other commands do without Google's packages.
    import grpc
    from google.api_core.exceptions import GoogleAPIError
    from google.cloud.tasks_v2 import CloudTasksClient

    transport = CloudTasksClient.get_transport_class("grpc")(channel=grpc.insecure_channel(host))
    try:
        client = CloudTasksClient(transport=transport)
        found = list(client.list_queues(parent=parent, retry=None, timeout=10, metadata=metadata))
    except GoogleAPIError as error:
        raise DriverError(f"The queue server at {host} does not list its queues: {error}") from error
    return [
        {
            "name": queue.name.rpartition("/")[2],
            "state": queue.state.name,
            "rate_per_second": queue.rate_limits.max_dispatches_per_second,
            "bucket_size": queue.rate_limits.max_burst_size,
            "max_concurrent_requests": queue.rate_limits.max_concurrent_dispatches,
            "max_attempts": queue.retry_config.max_attempts,
        }
        for queue in found
    ]
