"""`headrace emulator`: the queue server on this machine."""

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from wsgiref.types import WSGIApplication

import click
from marshmallow import ValidationError

from headrace.clock import Clock
from headrace.cloud.settings import ServerSettings, Started
from headrace.config.values import duration
from headrace.engine.address import parse_address
from headrace.engine.reach import TargetRule, parse_rule
from headrace.errors import ConfigError, HeadraceError, StartError

if TYPE_CHECKING:
    from headrace.cloud.control.desk import ServerDesk

_ENVIRONMENT = {
    # Else gRPC adds lines of its own about a taken port.
    "GRPC_VERBOSITY": "NONE",
    # A sixth less CPU a call (bench.cloud); a version of gRPC that does not know the word goes on without it.
    "GRPC_EXPERIMENTS": "-event_engine_listener",
    # Names are looked up in threads: a few hosts whose DNS hangs must not hold up the others.
    "UV_THREADPOOL_SIZE": "64",
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


def read_url(text: str) -> str:
    """An http or https URL, as it is."""
    try:
        parse_address(text)
    except HeadraceError as error:
        raise click.BadParameter(f"{error.message} Give one such as http://127.0.0.1:8080") from error
    return text


def read_app_engine_url(text: str) -> tuple[str, str]:
    """`[[VERSION.]SERVICE=]URL` as the part of the application ("": all) and its URL."""
    part, url = ("", text) if text.startswith(("http://", "https://")) else text.partition("=")[::2]
    return part, read_url(url)


def read_endpoint(text: str) -> str:
    """A URL, or the host:port of an emulator."""
    read_url(text if "://" in text else f"http://{text}")
    return text


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
    "--grpc-front",
    envvar="HEADRACE_GRPC_FRONT",
    show_envvar=True,
    type=click.Choice(["grpcio", "native"]),
    default="grpcio",
    show_default=True,
    help="What speaks gRPC; native is faster, and needs pygrpc-native.",
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
    type=read_url,
    metavar="URL",
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
@click.option(
    "--issuer", type=read_url, metavar="URL", help="Issuer that tokens name.  [default: the server's REST address]"
)
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
    type=read_endpoint,
    metavar="URL|HOST:PORT",
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
    """Run the queue server: Cloud Tasks and Cloud Scheduler on this machine, with the real semantics.

    It pushes the tasks of its queues over HTTP, fires the jobs of its scheduler and signs the tokens of both. It
    stops on SIGTERM or Ctrl-C: pushes under way are finished first, for up to 10 seconds.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Imported late: libraries read their environment then, and the server costs more than all of the command line.
    from headrace.cloud.errors import ApiError
    from headrace.cloud.fronts.access import read_token
    from headrace.cloud.names import check_location
    from headrace.cloud.server import run

    if memory and data is not None:
        raise click.UsageError("--data and --memory exclude each other.")
    try:
        check_location(f"projects/{options['project']}/locations/{options['location']}")
    except ApiError as error:
        raise click.UsageError(
            "--project takes letters, digits, '-', '.' and ':', --location letters, digits and '-'."
        ) from error
    try:
        token = read_token(os.environ)
    except HeadraceError as error:
        _refuse(str(error))
    settings = ServerSettings(data=None if memory else data or Path(".headrace"), token=token, **options)

    def tell(started: Started) -> None:
        document = json.dumps({**asdict(started), "pid": os.getpid()})
        if ready_file is not None:
            try:
                _write_whole(ready_file, document + "\n")
            except OSError as error:
                raise StartError(
                    f"{ready_file} cannot be written: {error.strerror}.", hint="Give --ready-file another path."
                ) from error
        click.echo(document if as_json else _describe(started, settings))

    try:
        run(settings, tell, partial(_make_console, token))
    except ConfigError as error:
        _refuse(_first_fault(error))
    except HeadraceError as error:
        _refuse(str(error))


def _make_console(token: str | None, desk: "ServerDesk", clock: Clock, started: Started) -> WSGIApplication:
    """The console of the server that has started. Flask is imported when somebody looks at it, not before."""
    from headrace.cloud.errors import ApiError
    from headrace.cloud.fronts.transcoding import error_answer
    from headrace.console.queue_server import QueueServer, make_console

    def status_of(error: HeadraceError) -> int:
        return error_answer(error).status if isinstance(error, ApiError) else error.status

    port = parse_address(started.rest).origin.port
    return make_console(QueueServer(desk, clock, started.project, started.location, port, status_of, token))


def _describe(started: Started, settings: ServerSettings) -> str:
    kept = f"in {settings.data}" if settings.data else "in memory, until this process stops"
    is_nowhere = _callable(started.issuer) != started.issuer
    lines = [
        "Headrace queue server",
        f"  gRPC   {started.grpc}",
        f"  REST   {started.rest}",
        *([f"  console  {_callable(started.console)}"] if started.console else []),
        f"  tasks  kept {kept}; {started.queues} queues declared",
        f"  cron   {started.cron_jobs} jobs, sent to {settings.service_url}",
        *(f"         left out: {url} ({reason})" for url, reason in started.skipped),
        *([f"  clock  moved by tests: {settings.test_clock}"] if settings.test_clock else []),
        *(["  calls  bring authorization: Bearer $HEADRACE_QUEUE_SERVER_TOKEN"] if settings.token else []),
        *([f"  issuer {started.issuer} is no address that can be called: give --issuer"] if is_nowhere else []),
        "",
        *_connections(started, settings),
    ]
    return "\n".join(lines)


def _callable(address: str) -> str:
    """An address on which this machine can call a server that listens on all of them."""
    return address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")


def _connections(started: Started, settings: ServerSettings) -> list[str]:
    """The lines that connect clients to this server, in the words of each."""
    grpc, rest = _callable(started.grpc), _callable(started.rest)
    host, _, port = grpc.rpartition(":")
    overrides = " ".join(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}={rest}/" for api in ("CLOUDTASKS", "CLOUDSCHEDULER"))
    access = "DISABLE_CREDENTIALS=true" if settings.token is None else "ACCESS_TOKEN_FILE=FILE"
    return [
        f"  export CLOUD_TASKS_EMULATOR_HOST={grpc}",
        "Python",
        f'  CloudTasksClient(transport=CloudTasksGrpcTransport(channel=grpc.insecure_channel("{grpc}")))',
        "Node",
        f'  new CloudTasksClient({{apiEndpoint: "{host}", port: {port}, projectId: "{started.project}",',
        '    sslCreds: require("google-gax").grpc.credentials.createInsecure()})',
        "Go",
        f'  cloudtasks.NewClient(ctx, option.WithEndpoint("{grpc}"), option.WithoutAuthentication(),',
        "    option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))",
        "gcloud",
        f"  export CLOUDSDK_AUTH_{access} CLOUDSDK_CORE_PROJECT={started.project} {overrides}",
    ]


def _first_fault(error: ConfigError) -> str:
    """One line: the first error, and how to see the others."""
    first, *others = error.faults
    if not others:
        return str(first)
    return f"{first} (and {len(others)} more: see headrace queues check and headrace schedules check)"


def _refuse(message: str) -> NoReturn:
    click.echo(f"headrace emulator: {message}", err=True)
    sys.exit(1)


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(text)
    unfinished.replace(path)
