"""`headrace dead`: batches that no queue tries any more. Asks the service's admin API."""

import json
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from headrace.cli.faults import count
from headrace.cli.services import client_of, folder_option, json_option, tell

CAUSES = ["exhausted", "permanent", "poison", "timed_out", "refused", "vanished"]
_MATCHING = (
    click.option("--handler", help="Those of this handler alone: its operationId."),
    click.option("--cause", type=click.Choice(CAUSES), help="Those that are dead of this alone."),
    click.option("--run", "run_id", help="Those of this run alone."),
)


def _matching(function: Callable[..., None]) -> Callable[..., None]:
    return reduce(lambda decorated, option: option(decorated), reversed(_MATCHING), function)


@click.group("dead")
def command() -> None:
    """Dead batches: those whose handler said so, or whose tries are used up.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@_matching
@folder_option
@json_option
def list_dead(
    limit: int, handler: str | None, cause: str | None, run_id: str | None, folder: Path, as_json: bool
) -> None:
    """List dead batches, the newest first."""
    dead = client_of(folder).ask("/api/v1/dead", limit=limit, handler=handler, cause=cause, run_id=run_id)["dead"]
    if as_json:
        click.echo(json.dumps(dead))
        return
    for each in dead:
        error = each["error"].partition("\n")[0]
        click.echo(
            f"{each['batch_id']}  {each['cause']}  {each['handler']}  run {each['run_id']}  "
            f"{count(each['items'], 'item')}, {count(each['attempt'], 'attempt')}  {error}"
        )


@command.command("show")
@click.argument("batch_id", type=int)
@folder_option
@json_option
def show_batch(batch_id: int, folder: Path, as_json: bool) -> None:
    """Show one batch, dead or not: payload, attempts, items in trouble, effects."""
    batch = client_of(folder).ask(f"/api/v1/batches/{batch_id}")
    click.echo(json.dumps(batch)) if as_json else print_batch(Console(), batch)


@command.command("retry")
@click.argument("batch_id", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="All dead batches that match.")
@_matching
@folder_option
@json_option
def retry(
    batch_id: int | None,
    everything: bool,
    handler: str | None,
    cause: str | None,
    run_id: str | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Try a dead batch again, or all that match: items that are done stay done."""
    matching = {"handler": handler, "cause": cause, "run_id": run_id}
    answer = _act("retry", batch_id, everything, matching, folder)
    tell(answer, f"{answer.get('retried', 1)} to be tried again", as_json=as_json)


@command.command("edit")
@click.argument("batch_id", type=int)
@click.option("--payload", required=True, help="The new payload: JSON, or @FILE to read it from a file.")
@folder_option
@json_option
def edit(batch_id: int, payload: str, folder: Path, as_json: bool) -> None:
    """Give a dead batch another payload, and try it again."""
    try:
        value = json.loads(Path(payload[1:]).read_text("utf-8") if payload.startswith("@") else payload)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"no JSON is there: {error}", param_hint="--payload") from error
    answer = client_of(folder).tell(f"/api/v1/dead/{batch_id}/edit", {"payload": value})
    tell(answer, f"batch {batch_id} is to be tried again", as_json=as_json)


@command.command("discard")
@click.argument("batch_id", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="All dead batches that match.")
@_matching
@folder_option
@json_option
def discard(
    batch_id: int | None,
    everything: bool,
    handler: str | None,
    cause: str | None,
    run_id: str | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Give up a dead batch, or all that match."""
    matching = {"handler": handler, "cause": cause, "run_id": run_id}
    answer = _act("discard", batch_id, everything, matching, folder)
    tell(answer, f"{answer.get('discarded', 1)} given up", as_json=as_json)


def _act(
    action: str, batch_id: int | None, everything: bool, matching: dict[str, str | None], folder: Path
) -> dict[str, Any]:
    given = {name: value for name, value in matching.items() if value is not None}
    if (batch_id is None) != (everything or bool(given)):
        raise click.UsageError("Name one BATCH_ID, or say which by --all, --handler, --cause or --run.")
    if batch_id is not None:
        return client_of(folder).tell(f"/api/v1/dead/{batch_id}/{action}")
    return client_of(folder).tell(f"/api/v1/dead:{action}", given)


def print_batch(console: Console, batch: dict[str, Any]) -> None:
    """All that is known of a batch."""
    table = Table(show_header=False)
    for name in ("batch_id", "run_id", "handler", "number", "state", "cause", "generation", "ended_at"):
        table.add_row(name.replace("_", " "), str(batch[name] or ""))
    console.print(table)
    lines = [f"payload {json.dumps(batch['payload'])}"]
    lines += [f"{name} {json.dumps(batch[name])}" for name in ("saved", "result") if batch[name] is not None]
    for effect in batch["effects"]:
        doubt = " (nobody knows whether it happened)" if effect["in_doubt"] else ""
        lines.append(f"effect {effect['key']} {effect['state']} at {effect['done_at'] or effect['begun_at']}{doubt}")
    for item in batch["items_in_trouble"]:
        lines.append(f"item {item['position']} {json.dumps(item['value'])} {item['state']}: {item['error']}")
    for attempt in batch["attempts"]:
        lines.append(
            f"attempt {attempt['number']} {attempt['started_at']} {attempt['outcome'] or 'running'}: {attempt['error']}"
        )
        lines += [f"  {line}" for line in attempt["trace"].splitlines()]
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
