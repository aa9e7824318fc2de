"""`headrace tasks`: tasks in any state. Asks the service's admin API."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from headrace.cli.dead import print_batch
from headrace.cli.services import client_of, folder_option, json_option, tell
from headrace.cli.task_run import run

STATES = ["waiting", "running", "successful", "warning", "error", "cancelled"]


@click.group("tasks")
def command() -> None:
    """Tasks in any state: those that wait, run, were done, or were not.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--state", type=click.Choice(STATES), help="Those in this state alone.")
@click.option("--handler", help="Those of this handler alone: its operationId.")
@click.option("--queue", help="Those of this queue alone.")
@click.option("--run", "run_id", help="Those of this run alone.")
@click.option("--object", "about", help="Those about this alone, such as user/7.")
@click.option("--search", "query", help="Number of a task, id of a run or its beginning, or an object.")
@click.option("--standalone/--of-jobs", default=None, help="Pushed by themselves, or not.")
@click.option("--hide-successful", is_flag=True, help="All but those that were done well.")
@click.option("--before", type=click.IntRange(1), help="Those behind this task: where the page before ended.")
@folder_option
@json_option
def list_tasks(
    limit: int,
    state: str | None,
    handler: str | None,
    queue: str | None,
    run_id: str | None,
    about: str | None,
    query: str | None,
    standalone: bool | None,
    hide_successful: bool,
    before: int | None,
    folder: Path,
    as_json: bool,
) -> None:
    """List tasks, the newest first."""
    filters = {
        "limit": limit,
        "state": state,
        "handler": handler,
        "queue": queue,
        "run_id": run_id,
        "object": about,
        "q": query,
        "standalone": None if standalone is None else str(standalone).lower(),
        "hide_successful": "true" if hide_successful else None,
        "before": before,
    }
    answer = client_of(folder).ask("/api/v1/batches", **filters)
    if as_json:
        click.echo(json.dumps(answer))
        return
    for task in answer["batches"]:
        about_it = f"  about {task['object']}" if task["object"] else ""
        error = task["error"].partition("\n")[0]
        click.echo(
            f"{task['batch_id']}  {task['display_state']}  {task['handler']}  run {task['run_id']}{about_it}  {error}"
        )
    if answer["before"] is not None:
        paused = f"looked at {answer['looked_at']:,}; " if answer["looked_at"] is not None else ""
        click.echo(f"{paused}go on with --before {answer['before']}", err=True)


@command.command("show")
@click.argument("batch_id", type=int)
@folder_option
@json_option
def show_task(batch_id: int, folder: Path, as_json: bool) -> None:
    """Show one task: payload, attempts, items in trouble, effects."""
    batch = client_of(folder).ask(f"/api/v1/batches/{batch_id}")
    click.echo(json.dumps(batch)) if as_json else print_batch(Console(), batch)


@command.command("cancel")
@click.argument("batch_ids", type=int, nargs=-1, required=True)
@folder_option
@json_option
def cancel(batch_ids: tuple[int, ...], folder: Path, as_json: bool) -> None:
    """Cancel tasks that wait."""
    _change("cancel", batch_ids, folder, "cancelled", as_json=as_json)


@command.command("retry")
@click.argument("batch_ids", type=int, nargs=-1, required=True)
@folder_option
@json_option
def retry(batch_ids: tuple[int, ...], folder: Path, as_json: bool) -> None:
    """Try dead tasks again: items that are done stay done."""
    _change("retry", batch_ids, folder, "to be tried again", as_json=as_json)


def _change(action: str, batch_ids: tuple[int, ...], folder: Path, done: str, *, as_json: bool) -> None:
    """Do it to each, say which were refused, and fail where any was."""
    answer: dict[str, Any] = client_of(folder).tell(f"/api/v1/batches:{action}", {"batch_ids": list(batch_ids)})
    tell(answer, f"{answer['changed']} {done}", as_json=as_json)
    for each in answer["refused"]:
        click.echo(each["reason"], err=True)
    if answer["refused"]:
        raise click.exceptions.Exit(1)


command.add_command(run)
