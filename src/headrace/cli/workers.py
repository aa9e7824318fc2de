"""`headrace workers`: what executes tasks. Asks the service's admin API."""

import json
from pathlib import Path

import click

from headrace.cli.services import client_of, folder_option, json_option


@click.command("workers")
@folder_option
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Show what executes tasks, and what keeps it from doing so."""
    client = client_of(folder)
    workers, hints = client.ask("/api/v1/workers"), client.ask("/api/v1/workers/hints")["hints"]
    if as_json:
        click.echo(json.dumps({**workers, "hints": hints}))
        return
    cap = workers["task_inline_max_concurrent"]
    click.echo(f"version {workers['tenant_version']}, inline, {cap or 'any number of'} tasks at once")
    for agent in workers["agents"]:
        click.echo(f"agent {agent['id']}  {agent['type']}  {agent['active_count']} active  {agent['connected_at']}")
    for each in workers["pools"]:
        counts = f"{each['live_agents']} agents, {each['running_now']} run, {each['pending_now']} wait"
        click.echo(f"pool {each['pool']['name']}  {counts}")
    for hint in hints:
        click.echo(f"{hint['symptom']}: {hint['cause']}. {hint['fix']}")
