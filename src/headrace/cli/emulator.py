"""`headrace emulator`: the queue server on this machine."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click

from headrace.cloud.settings import ServerSettings, Started
from headrace.errors import ConfigError, HeadraceError

_GRPC_ENVIRONMENT = {
    # Else gRPC adds lines of its own about a taken port.
    "GRPC_VERBOSITY": "NONE",
    # A sixth less CPU a call (bench.cloud); a version of gRPC that does not know the word goes on without it.
    "GRPC_EXPERIMENTS": "-event_engine_listener",
}


@click.command("emulator")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; loopback only.")
@click.option(
    "--grpc-port", default=8123, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free port."
)
@click.option(
    "--rest-port", default=8124, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free port."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps queues, tasks and the token key.  [default: .headrace]",
)
@click.option("--memory", is_flag=True, help="Keep everything in memory; it is gone when the server stops.")
@click.option("--queues", "queue_file", type=click.Path(dir_okay=False, path_type=Path), help="queue.yaml to load.")
@click.option(
    "--cron", "cron_file", type=click.Path(dir_okay=False, path_type=Path), help="cron.yaml to load and fire."
)
@click.option("--env", "environment", help="Lay queue.NAME.yaml and cron.NAME.yaml over the files.")
@click.option("--project", default="headrace-dev", show_default=True, help="Project of the queues.")
@click.option("--location", default="local", show_default=True, help="Location of the queues.")
@click.option(
    "--service-url",
    default="http://127.0.0.1:8080",
    show_default=True,
    help="Where cron requests go; also the audience of their tokens.",
)
@click.option("--issuer", help="Issuer that tokens name.  [default: the server's REST address]")
@click.option(
    "--scheduler-service-account",
    default="scheduler@headrace-dev.iam.gserviceaccount.com",
    show_default=True,
    help="Account whose token cron requests carry.",
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the addresses there, as JSON, once the server serves.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one line of JSON.")
def command(data: Path | None, memory: bool, ready_file: Path | None, as_json: bool, **options: Any) -> None:
    """Run the queue server: Cloud Tasks for this machine, with the real semantics.

    It pushes the tasks of its queues over HTTP, fires the jobs of cron.yaml and signs the tokens of both. It
    stops on SIGTERM or Ctrl-C: pushes under way are finished first, for up to 10 seconds.
    """
    for name, value in _GRPC_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Imported late: gRPC reads its environment then, and the server costs more than all of the command line.
    from headrace.cloud.server import run

    if memory and data is not None:
        raise click.UsageError("--data and --memory exclude each other.")
    settings = ServerSettings(data=None if memory else data or Path(".headrace"), **options)

    def tell(started: Started) -> None:
        document = json.dumps({**asdict(started), "pid": os.getpid()})
        if ready_file is not None:
            _write_whole(ready_file, document + "\n")
        click.echo(document if as_json else _describe(started, settings))

    try:
        run(settings, tell)
    except ConfigError as error:
        _refuse(_first_fault(error))
    except HeadraceError as error:
        _refuse(str(error))


def _describe(started: Started, settings: ServerSettings) -> str:
    kept = f"in {settings.data}" if settings.data else "in memory, until this process stops"
    lines = [
        "Headrace queue server",
        f"  gRPC   {started.grpc}",
        f"  REST   {started.rest}",
        f"  tasks  kept {kept}; {started.queues} queues declared",
        f"  cron   {started.cron_jobs} jobs, sent to {settings.service_url}",
        *(f"         left out: {url} ({reason})" for url, reason in started.skipped),
        "",
        f"  export CLOUD_TASKS_EMULATOR_HOST={started.grpc}",
        f'  CloudTasksClient(transport=CloudTasksGrpcTransport(channel=grpc.insecure_channel("{started.grpc}")))',
    ]
    return "\n".join(lines)


def _first_fault(error: ConfigError) -> str:
    """One line: the first error, and how to see the others."""
    first, *others = error.faults
    return f"{first} (and {len(others)} more)" if others else str(first)


def _refuse(message: str) -> NoReturn:
    click.echo(f"headrace emulator: {message}", err=True)
    sys.exit(1)


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(text)
    unfinished.replace(path)
