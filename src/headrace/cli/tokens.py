"""`headrace tokens`: who may do what by the admin API and in the console. Asks the service's admin API."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.cli.services import client_of, folder_option, json_option, tell
from headrace.contract.operations import Permission


@click.group("tokens")
def command() -> None:
    """Tokens of operators: each has a name, for the audit, and permissions.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN, which needs the permission admin.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@folder_option
@json_option
def list_tokens(limit: int, folder: Path, as_json: bool) -> None:
    """List tokens, those that are live first; never what their bearers send."""
    tokens = client_of(folder).ask("/api/v1/tokens", limit=limit)["tokens"]
    if as_json:
        click.echo(json.dumps(tokens))
        return
    table = Table("token", "name", "permissions", "issued", "by", "last used", "revoked")
    for each in tokens:
        words = [each[name] or "" for name in ("created_at", "created_by", "last_used_at", "revoked_at")]
        table.add_row(
            str(each["id"]), escape(each["name"]), ", ".join(each["permissions"]), *(escape(word) for word in words)
        )
    Console().print(table)


@command.command("issue")
@click.argument("name")
@click.option(
    "--permission",
    "permissions",
    type=click.Choice([each.value for each in Permission]),
    multiple=True,
    required=True,
    help="What it may do; may be given several times.",
)
@folder_option
@json_option
def issue(name: str, permissions: tuple[str, ...], folder: Path, as_json: bool) -> None:
    """Issue a token, and print it: nothing tells it again."""
    answer = client_of(folder).tell("/api/v1/tokens", {"name": name, "permissions": list(permissions)})
    tell(answer, answer["token"], as_json=as_json)


@command.command("revoke")
@click.argument("token_id", type=int)
@folder_option
@json_option
def revoke(token_id: int, folder: Path, as_json: bool) -> None:
    """Revoke a token, and end the log-ins with it."""
    answer = client_of(folder).tell(f"/api/v1/tokens/{token_id}", method="DELETE")
    tell(answer, f"token {token_id} is revoked", as_json=as_json)
