"""`headrace audit`: who did what, and to what. Asks the service's admin API."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.cli.services import client_of, folder_option, json_option


@click.group("audit")
def command() -> None:
    """What operators did, and what they were refused.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--actor", help="What this token's bearer did alone: its name.")
@click.option("--action", help="This action alone, such as retry_dead or refused.")
@click.option("--object", "of", help="What was done to this alone, such as batch/7.")
@click.option("--before", type=click.IntRange(1), help="Rows older than the one of this id.")
@folder_option
@json_option
def list_audit(
    limit: int, actor: str | None, action: str | None, of: str | None, before: int | None, folder: Path, as_json: bool
) -> None:
    """List what was done, the newest first."""
    asked = {"limit": limit, "actor": actor, "action": action, "object": of, "before": before}
    rows = client_of(folder).ask("/api/v1/audit", **asked)["audit"]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("id", "at", "actor", "action", "object", "before", "after")
    for row in rows:
        words = [row[name] or "" for name in ("at", "actor", "action", "object", "old", "new")]
        table.add_row(str(row["id"]), *(escape(word) for word in words))
    Console().print(table)
