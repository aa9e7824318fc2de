"""`headrace emulator`: the queue server on this machine."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click
from marshmallow import ValidationError

from headrace.cloud.settings import ServerSettings, Started
from headrace.config.values import duration
from headrace.engine.address import parse_address
from headrace.engine.reach import TargetRule, parse_rule
from headrace.errors import ConfigError, HeadraceError

_GRPC_ENVIRONMENT = {
    # Else gRPC adds lines of its own about a taken port.
    "GRPC_VERBOSITY": "NONE",
    # A sixth less CPU a call (bench.cloud); a version of gRPC that does not know the word goes on without it.
    "GRPC_EXPERIMENTS": "-event_engine_listener",
}


def read_duration(text: str) -> float:
    """`90s`, `5m`, `1h`, `9d` as seconds."""
    try:
        return float(duration(text))
    except ValidationError as error:
        raise click.BadParameter(f"{text} {error.messages[0]}.") from error


def read_rule(text: str) -> TargetRule:
    """HOST[:PORT], *.DOMAIN[:PORT] or a CIDR block as a rule on targets."""
    try:
        return parse_rule(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}") from error


def read_app_engine_url(text: str) -> tuple[str, str]:
    """`[[VERSION.]SERVICE=]URL` as the part of the application ("": all) and its URL."""
    part, url = ("", text) if text.startswith(("http://", "https://")) else text.partition("=")[::2]
    try:
        parse_address(url)
    except HeadraceError as error:
        raise click.BadParameter(error.message) from error
    return part, url


@click.command("emulator")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; off loopback HEADRACE_QUEUE_SERVER_TOKEN must be set.",
)
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
@click.option(
    "--app-engine-url",
    "app_engine_urls",
    multiple=True,
    type=read_app_engine_url,
    metavar="[[VERSION.]SERVICE=]URL",
    help="Where App Engine targets are served; may be repeated.  [default: the service URL]",
)
@click.option(
    "--allow-target",
    "allowed_targets",
    multiple=True,
    type=read_rule,
    metavar="HOST[:PORT]|*.DOMAIN[:PORT]|CIDR",
    help="Push to nothing else; may be repeated.  [default: on loopback everything, else public addresses]",
)
@click.option("--tls-insecure-targets", is_flag=True, help="Do not look at the certificates of https targets.")
@click.option("--issuer", help="Issuer that tokens name.  [default: the server's REST address]")
@click.option(
    "--scheduler-service-account",
    default="scheduler@headrace-dev.iam.gserviceaccount.com",
    show_default=True,
    help="Account whose token cron requests carry.",
)
@click.option(
    "--name-memory",
    default="1h",
    show_default=True,
    type=read_duration,
    metavar="DURATION",
    help="How long the name of a finished task stays taken.",
)
@click.option(
    "--file-name-memory",
    default="9d",
    show_default=True,
    type=read_duration,
    metavar="DURATION",
    help="The same, for the queues of queue.yaml.",
)
@click.option(
    "--queue-name-memory",
    default="3d",
    show_default=True,
    type=read_duration,
    metavar="DURATION",
    help="How long the name of a deleted queue stays taken.",
)
@click.option(
    "--pubsub-endpoint",
    envvar="PUBSUB_EMULATOR_HOST",
    show_envvar=True,
    help="Where Pub/Sub targets of jobs publish to: a URL, or the host:port of an emulator.",
)
@click.option("--auto-create-queues", is_flag=True, help="A task makes its queue where it is missing.")
@click.option(
    "--test-clock",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Run on a clock that tests move: real time plus the offset in this file, which is made if it is missing.",
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
    from headrace.cloud.access import read_token
    from headrace.cloud.server import run

    if memory and data is not None:
        raise click.UsageError("--data and --memory exclude each other.")
    try:
        token = read_token(os.environ)
    except HeadraceError as error:
        _refuse(str(error))
    settings = ServerSettings(data=None if memory else data or Path(".headrace"), token=token, **options)

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
        *([f"  clock  moved by tests: {settings.test_clock}"] if settings.test_clock else []),
        "",
        *_connections(started),
    ]
    return "\n".join(lines)


def _connections(started: Started) -> list[str]:
    """The lines that connect clients to this server, in the words of each."""
    host, _, port = started.grpc.rpartition(":")
    overrides = " ".join(
        f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}={started.rest}/" for api in ("CLOUDTASKS", "CLOUDSCHEDULER")
    )
    return [
        f"  export CLOUD_TASKS_EMULATOR_HOST={started.grpc}",
        "Python",
        f'  CloudTasksClient(transport=CloudTasksGrpcTransport(channel=grpc.insecure_channel("{started.grpc}")))',
        "Node",
        f'  new CloudTasksClient({{apiEndpoint: "{host}", port: {port}, projectId: "{started.project}",',
        '    sslCreds: require("google-gax").grpc.credentials.createInsecure()})',
        "Go",
        f'  cloudtasks.NewClient(ctx, option.WithEndpoint("{started.grpc}"), option.WithoutAuthentication(),',
        "    option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))",
        "gcloud",
        f"  export CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_CORE_PROJECT={started.project} {overrides}",
    ]


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
