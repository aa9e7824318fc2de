"""`headrace decisions`: batches of which only a person can say what becomes of them. Asks the service's admin API."""

import json
from pathlib import Path

import click
from rich.console import Console

from headrace.cli.dead import print_batch
from headrace.cli.services import client_of, folder_option, json_option, tell


@click.group("decisions")
def command() -> None:
    """Batches whose attempt died amid something that must not happen twice.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@folder_option
@json_option
def list_decisions(limit: int, folder: Path, as_json: bool) -> None:
    """List the batches that wait for a decision, with all that is known of each; as JSON, with payload and effects."""
    client = client_of(folder)
    waiting = client.ask("/api/v1/decisions", limit=limit)["decisions"]
    if as_json:
        click.echo(json.dumps(waiting))
        return
    for batch in waiting:
        print_batch(Console(), client.ask(f"/api/v1/batches/{batch['batch_id']}"))
    click.echo(f"{len(waiting)} to be decided")


@command.command("decide")
@click.argument("batch_id", type=int)
@click.argument("decision", type=click.Choice(["resume", "redo", "skip"]))
@folder_option
@json_option
def decide(batch_id: int, decision: str, folder: Path, as_json: bool) -> None:
    """Say what becomes of a batch.

    resume: what is in doubt has happened, and the batch goes on; with nothing in doubt, all of it has. redo: it has
    not, and what is left is done again. skip: the batch is cancelled.
    """
    answer = client_of(folder).tell(f"/api/v1/decisions/{batch_id}", {"decision": decision})
    tell(answer, f"batch {batch_id}: {decision}", as_json=as_json)
