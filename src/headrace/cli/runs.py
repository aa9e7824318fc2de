"""`headrace runs`: what runs there are, and how far each is. Asks the service's admin API."""

import json
import os
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headrace.config.settings import load_settings
from headrace.errors import StartError
from headrace.local.address import find_address
from headrace.local.service import ENDED, ServiceClient

POLL = 0.5
_folder = click.option(
    "--app", "folder", type=click.Path(file_okay=False, path_type=Path), default=".", help="The application's folder."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("runs")
def command() -> None:
    """Show runs.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


def _client(folder: Path) -> ServiceClient:
    address = find_address(os.environ, load_settings(os.environ, folder=folder).data)
    if address is None:
        raise StartError(
            f"No service is known in {folder}.",
            hint="Start one by: headrace dev. Or set HEADRACE_SERVICE_URL and HEADRACE_ADMIN_TOKEN.",
        )
    return ServiceClient(address)


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@click.option("--job", help="Runs of this job alone: its operationId.")
@click.option("--state", type=click.Choice(["splitting", "running", *ENDED]), help="Runs in this state alone.")
@_folder
@_json
def list_runs(limit: int, job: str | None, state: str | None, folder: Path, as_json: bool) -> None:
    """List the newest runs."""
    runs = _client(folder).list_runs(limit=limit, job=job, state=state)
    if as_json:
        click.echo(json.dumps(runs))
        return
    table = Table("run", "job", "state", "items", "tasks", "progress", "started")
    for run in runs:
        tasks = f"{run['tasks']['done']:,} of {run['tasks']['total']:,}"
        progress = f"{run['progress']:.0%}"
        table.add_row(run["run_id"], run["job"], run["state"], f"{run['items']:,}", tasks, progress, run["started_at"])
    Console().print(table)


@command.command("show")
@click.argument("run_id")
@_folder
@_json
def show_run(run_id: str, folder: Path, as_json: bool) -> None:
    """Show one run: its counts, and its latest attempts that did not end well."""
    run = _client(folder).show_run(run_id)
    if as_json:
        click.echo(json.dumps(run))
    else:
        _print_run(Console(), run)


@command.command("watch")
@click.argument("run_id")
@_folder
def watch_run(run_id: str, folder: Path) -> None:
    """Follow a run until it ends. Exit status 0 when it completed, 1 when it failed."""
    client, console = _client(folder), Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("tasks"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("", total=None)
        while (run := client.show_run(run_id))["state"] not in ENDED:
            tasks = run["tasks"]
            progress.update(bar, description=run["state"], completed=tasks["done"], total=tasks["total"] or None)
            time.sleep(POLL)
        progress.update(bar, description=run["state"], completed=run["tasks"]["done"], total=run["tasks"]["total"])
    _print_run(console, run)
    raise click.exceptions.Exit(0 if run["state"] == "completed" else 1)


def _print_run(console: Console, run: dict[str, Any]) -> None:
    table = Table(show_header=False)
    for name in ("run_id", "job", "state", "reason", "started_at", "ended_at"):
        table.add_row(name.replace("_", " "), str(run[name] or ""))
    table.add_row("items", f"{run['items_done']:,} of {run['items']:,} done")
    table.add_row("tasks", ", ".join(f"{count:,} {state}" for state, count in run["tasks"].items() if count))
    table.add_row("attempts", f"{run['attempts']:,}, of which {run['retries']:,} were retries")
    console.print(table)
    for trouble in run["troubles"]:
        console.print(
            f"  {trouble['ended_at']} batch {trouble['batch']} attempt {trouble['attempt']} "
            f"{trouble['outcome']}: {trouble['error']}",
            markup=False,
        )
