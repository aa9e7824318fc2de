"""`headrace queues`: what concerns the queues of an application."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from rich.console import Console
from rich.table import Table

from headrace.cli.faults import count, report, summarise
from headrace.cli.services import client_of, folder_option, json_option, tell
from headrace.config import load_queue_file
from headrace.config.settings import load_settings
from headrace.drivers.cloudtasks import authorization
from headrace.errors import ConfigError, DriverError, Fault, StartError
from headrace.local.address import find_address
from headrace.local.service import ServiceClient


@click.group()
def command() -> None:
    """Show and steer the queues of a service; judge queue.yaml.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


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
@folder_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_queues(folder: Path, as_json: bool) -> None:
    """List the queues of a running service, with their state, backlog and limits.

    Without a service, those of the queue server that CLOUD_TASKS_EMULATOR_HOST names, as that server tells them.
    """
    settings = load_settings(os.environ, folder=folder)
    address = find_address(os.environ, settings.data)
    if address is not None and address.admin_token is not None:
        queues = ServiceClient(address).ask("/api/v1/queues")["queues"]
        click.echo(json.dumps(queues)) if as_json else _print(queues)
        return
    host = settings.tasks_emulator
    if host is None:
        raise StartError(
            f"Neither a service nor a queue server is known in {folder}.",
            hint="Start both by: headrace dev. Or set CLOUD_TASKS_EMULATOR_HOST to a queue server's host:port.",
        )
    parent = f"projects/{settings.project}/locations/{settings.location}"
    found = _ask(host, parent, authorization(settings.queue_server_token))
    click.echo(json.dumps(found)) if as_json else _print(
        [{"queue": each["name"], "limits": each, **each} for each in found]
    )


@command.command("pause")
@click.argument("queue")
@folder_option
@json_option
def pause(queue: str, folder: Path, as_json: bool) -> None:
    """Push nothing by itself; tasks may still be created, and each can be run by hand."""
    answer = client_of(folder).tell(f"{_path(queue)}/pause")
    tell(answer, f"{queue} is paused", as_json=as_json)


@command.command("resume")
@click.argument("queue")
@folder_option
@json_option
def resume(queue: str, folder: Path, as_json: bool) -> None:
    """Push again."""
    answer = client_of(folder).tell(f"{_path(queue)}/resume")
    tell(answer, f"{queue} pushes again", as_json=as_json)


@command.command("purge")
@click.argument("queue")
@click.option("--yes", is_flag=True, help="Do not ask.")
@folder_option
@json_option
def purge(queue: str, yes: bool, folder: Path, as_json: bool) -> None:
    """End what waits for a queue as cancelled. What is being executed goes on."""
    client = client_of(folder)
    if not yes:
        waiting = client.ask(_path(queue))["waiting"]
        click.confirm(f"End {count(waiting, 'task')} that wait for {queue}, for good?", abort=True, err=True)
    purged, more = 0, True
    while more:
        answer = client.tell(f"{_path(queue)}/purge")
        purged, more = purged + answer["purged"], answer["more"]
    tell({"purged": purged}, f"{count(purged, 'task')} ended as cancelled", as_json=as_json)


@command.command("limit")
@click.argument("queue")
@click.option("--rate", "rate_per_second", type=click.FloatRange(0, 500), help="Tasks a second.")
@click.option("--bucket-size", type=int, help="Tasks that may go at once after a rest.")
@click.option("--max-concurrent-requests", type=int, help="Pushes under way at a time.")
@click.option("--max-attempts", type=int, help="Attempts of a task, the first one included; -1: no limit.")
@click.option("--max-duration", type=float, help="Seconds for which a task is tried; 0: no limit.")
@click.option("--min-backoff", type=float, help="Seconds before the first retry.")
@click.option("--max-backoff", type=float, help="Seconds between retries at most.")
@click.option("--max-doublings", type=int, help="Times that the wait between retries doubles.")
@folder_option
@json_option
def limit(queue: str, folder: Path, as_json: bool, **limits: float | None) -> None:
    """Set limits over queue.yaml's: in force at once, until `headrace queues reset`."""
    given = {name: value for name, value in limits.items() if value is not None}
    if not given:
        raise click.UsageError("Say which limit, such as --rate 2.")
    answer = client_of(folder).tell(_path(queue), given, method="PATCH")
    tell(answer, f"{queue}: {_limits_in_words(answer['limits'])}", as_json=as_json)


@command.command("reset")
@click.argument("queue")
@folder_option
@json_option
def reset(queue: str, folder: Path, as_json: bool) -> None:
    """Give a queue back to queue.yaml: its limits are in force again."""
    answer = client_of(folder).clear(_path(queue))
    tell(answer, f"{queue}: {_limits_in_words(answer['limits'])}", as_json=as_json)


def _path(queue: str) -> str:
    return f"/api/v1/queues/{quote(queue, safe='')}"


def _print(queues: list[dict[str, Any]]) -> None:
    table = Table("queue", "state", "waiting", "oldest", "limits")
    for queue in queues:
        oldest = queue.get("oldest_age")
        table.add_row(
            queue["queue"],
            queue["state"],
            str(queue.get("waiting", "")),
            "" if oldest is None else f"{oldest:.0f} s",
            _limits_in_words(queue["limits"]) + (" (set over the file)" if queue.get("declared") else ""),
        )
    Console().print(table)


def _limits_in_words(limits: dict[str, Any] | None) -> str:
    if limits is None:
        return "cannot be asked"
    attempts = "no limit" if limits["max_attempts"] == -1 else str(limits["max_attempts"])
    return (
        f"{limits['rate_per_second']:g}/s, bucket {limits['bucket_size']}, "
        f"{limits['max_concurrent_requests']} at once, attempts: {attempts}"
    )


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
