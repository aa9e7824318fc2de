"""`headrace runs`: what runs there are, how far each is, and what is done to them. Asks the service's admin API."""

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headrace.cli.services import client_of, folder_option, json_option, tell
from headrace.local.service import ENDED

POLL = 0.5


@click.group("runs")
def command() -> None:
    """Show runs, and cancel or retry them.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@click.option("--job", help="Runs of this job alone: its operationId.")
@click.option(
    "--state",
    type=click.Choice(["queued", "splitting", "running", "cancelling", *ENDED]),
    help="Runs in this state alone.",
)
@folder_option
@json_option
def list_runs(limit: int, job: str | None, state: str | None, folder: Path, as_json: bool) -> None:
    """List the newest runs."""
    runs = client_of(folder).list_runs(limit=limit, job=job, state=state)
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
@folder_option
@json_option
def show_run(run_id: str, folder: Path, as_json: bool) -> None:
    """Show one run: its counts, and its latest attempts that did not end well."""
    run = client_of(folder).show_run(run_id)
    if as_json:
        click.echo(json.dumps(run))
    else:
        _print_run(Console(), run)


@command.command("watch")
@click.argument("run_id")
@folder_option
def watch_run(run_id: str, folder: Path) -> None:
    """Follow a run until it ends. Exit status 0 when it completed, 1 when it failed."""
    client, console = client_of(folder), Console()
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


@command.command("cancel")
@click.argument("run_id")
@click.option("--reason", default="", help="Kept on the run.")
@folder_option
@json_option
def cancel_run(run_id: str, reason: str, folder: Path, as_json: bool) -> None:
    """Cancel a run: what waits is dropped, what runs gets a few seconds to stop."""
    answer = client_of(folder).tell(f"/api/v1/runs/{run_id}/cancel", {"reason": reason})
    tell(answer, f"run {run_id} is cancelled", as_json=as_json)


@command.command("retry")
@click.argument("run_id")
@folder_option
@json_option
def retry_run(run_id: str, folder: Path, as_json: bool) -> None:
    """Try all dead batches of a run again."""
    answer = client_of(folder).tell(f"/api/v1/runs/{run_id}/retry")
    tell(answer, f"{answer['retried']} to be tried again", as_json=as_json)


def _print_run(console: Console, run: dict[str, Any]) -> None:
    table = Table(show_header=False)
    for name in ("run_id", "job", "state", "reason", "started_at", "ended_at"):
        table.add_row(name.replace("_", " "), str(run[name] or ""))
    table.add_row("items", f"{run['items_done']:,} of {run['items']:,} done")
    table.add_row("tasks", ", ".join(f"{count:,} {state}" for state, count in run["tasks"].items() if count))
    if run["items_failed"]:
        table.add_row("items failed", f"{run['items_failed']:,}")
    table.add_row("attempts", f"{run['attempts']:,}, of which {run['retries']:,} were retries")
    console.print(table)
    for item in run["failed_items"]:
        console.print(f"  item {item['value']} of batch {item['batch_id']}: {item['error']}", markup=False)
    for trouble in run["troubles"]:
        console.print(
            f"  {trouble['ended_at']} batch {trouble['batch']} attempt {trouble['attempt']} "
            f"{trouble['outcome']}: {trouble['error']}",
            markup=False,
        )
