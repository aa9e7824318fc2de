"""`headrace dev`: service, queue and schedules of one application, until Ctrl-C."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console
from rich.markup import escape

from headrace.cli.check import check_folder
from headrace.config.settings import DEVELOPMENT, load_settings
from headrace.contract.check import load_contract
from headrace.contract.operations import Kind
from headrace.errors import HeadraceError, Level
from headrace.local.address import FILE, Address
from headrace.local.processes import Parts
from headrace.local.stack import Stack

WATCH_EVERY = 0.5


@click.command("dev")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="The service's port.")
@click.option("--grpc-port", default=8123, show_default=True, type=click.IntRange(1, 65535), help="Queue server.")
@click.option("--rest-port", default=8124, show_default=True, type=click.IntRange(1, 65535), help="Queue server.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="[default: FOLDER/.headrace]")
@click.option(
    "--env", "environment", default=DEVELOPMENT, show_default=True, help="Overlays of queue.yaml and cron.yaml."
)
@click.option("--inline", is_flag=True, help="One process: the queue runs inside the service.")
def command(
    folder: Path, port: int, grpc_port: int, rest_port: int, data: Path | None, environment: str, inline: bool
) -> None:
    """Run the application in FOLDER on this machine.

    Starts the queue server and the service, fires the schedules of cron.yaml, and prints the addresses, a curl
    line for each cron endpoint and a token for the admin API. Ctrl-C stops everything. When one part dies, all
    of it stops, with a message that says which and why.
    """
    if inline and environment != DEVELOPMENT:
        raise click.UsageError(f"With --inline the overlays are those of {DEVELOPMENT}: leave --env out.")
    folder = folder.resolve()
    _refuse_faults(folder, environment)
    settings = load_settings({**os.environ, "HEADRACE_ENV": DEVELOPMENT}, folder=folder)
    data = (data or settings.data).resolve()
    variables = _database_of(os.environ)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if inline:
            _serve_inline(folder, data, port, variables)
        else:
            _watch(Stack(folder, data, environment, port, grpc_port, rest_port, variables))
    except KeyboardInterrupt:
        pass
    except (HeadraceError, OSError) as error:
        click.echo(f"headrace dev: {error}", err=True)
        sys.exit(1)
    finally:
        with suppress(OSError):
            (data / FILE).unlink()
    click.echo("headrace dev: stopped")


def _watch(stack: Stack) -> NoReturn:
    with Parts(stack.data) as parts:
        _print_guide(Console(), stack.folder, stack.start(parts))
        while True:
            parts.check()
            time.sleep(WATCH_EVERY)


def _serve_inline(folder: Path, data: Path, port: int, variables: Mapping[str, str]) -> None:
    # Imported here: without --inline nothing of the service runs in this process.
    from headrace.local.inline import run_inline

    with run_inline(folder, data, port=port, variables=variables) as (server, address):
        _print_guide(Console(), folder, address)
        server.serve_forever()


def _refuse_faults(folder: Path, environment: str) -> None:
    faults = check_folder(folder, environment)
    for fault in faults:
        click.echo(str(fault), err=True)
    if any(fault.level is Level.ERROR for fault in faults):
        sys.exit(1)


def _database_of(environment: os._Environ[str]) -> dict[str, str]:
    url = environment.get("HEADRACE_DATABASE_URL")
    return {} if url is None else {"HEADRACE_DATABASE_URL": url}


def _print_guide(console: Console, folder: Path, address: Address) -> None:
    settings = load_settings({"HEADRACE_ENV": "development"}, folder=folder)
    contract = load_contract(folder, settings)
    console.print(f"[bold]Headrace runs {escape(folder.name)}[/bold]")
    console.print(f"  service       {address.service}")
    console.print(f"  console       {address.service}/console")
    if address.queue_server is None:
        console.print("  queue         in the same process")
    else:
        console.print(f"  queue server  {address.queue_server} (gRPC)   {address.queue_server_rest} (REST)")
        console.print(f"                {address.queue_server_rest}/console")
    console.print("\n  Start a job:")
    for operation in contract.operations:
        if operation.kind is Kind.JOB:
            _plain(f"    curl -i -H 'X-Appengine-Cron: true' {address.service}{operation.path}")
    _plain("\n  Or a sweep (cron.yaml fires them, too):")
    for operation in contract.operations:
        if operation.kind is Kind.SWEEP:
            _plain(f"    curl -i -H 'X-Appengine-Cron: true' {address.service}{operation.path}")
    _plain("\n  See how far a run is (the token is for this start alone):")
    _plain(f"    curl -H 'Authorization: Bearer {address.admin_token}' {address.service}/api/v1/runs")
    _plain("    headrace runs list")
    _plain("\n  Ctrl-C stops everything.")
    sys.stdout.flush()


def _plain(line: str) -> None:
    # Lines to copy: a console would wrap them.
    click.echo(line)
