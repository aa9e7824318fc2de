"""`headrace alerts`: what is wrong now, and what was. Asks the service's admin API."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.cli.services import client_of, folder_option, json_option, tell


@click.group("alerts")
def command() -> None:
    """What is wrong now, found by the sweep of alerts.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@folder_option
@json_option
def list_alerts(limit: int, folder: Path, as_json: bool) -> None:
    """List alerts, those that fire first, and the messages that no route has taken."""
    answer = client_of(folder).ask("/api/v1/alerts", limit=limit)
    if as_json:
        click.echo(json.dumps(answer))
        return
    table = Table("alert", "state", "rule", "object", "detail", "since", "acknowledged by")
    for each in answer["alerts"]:
        words = [each[name] or "" for name in ("state", "rule", "object", "detail", "fired_at", "acknowledged_by")]
        table.add_row(str(each["id"]), *(escape(word) for word in words))
    Console().print(table)
    for each in answer["unsent"]:
        click.echo(f"alert {each['alert_id']} to {each['route']}: {each['state']}, {each['error']}")


@command.command("acknowledge")
@click.argument("alert_id", type=int)
@folder_option
@json_option
def acknowledge(alert_id: int, folder: Path, as_json: bool) -> None:
    """Say that you look after an alert."""
    answer = client_of(folder).tell(f"/api/v1/alerts/{alert_id}/acknowledge")
    tell(answer, f"alert {alert_id} is acknowledged", as_json=as_json)
