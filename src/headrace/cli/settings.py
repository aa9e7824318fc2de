"""`headrace settings`: what may be changed while the service runs. Asks the service's admin API."""

import json
from pathlib import Path
from typing import Any

import click

from headrace.cli.services import client_of, folder_option, json_option, tell


@click.group("settings")
def command() -> None:
    """Settings that stand over the environment and the files, until they are cleared.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


@command.command("list")
@folder_option
@json_option
def list_settings(folder: Path, as_json: bool) -> None:
    """List all settings: value, where it comes from, what is allowed."""
    found = client_of(folder).ask("/api/v1/settings")["settings"]
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        click.echo(f"{_words(each)}  ({each['minimum']:g} to {each['maximum']:.0f}, default {each['default']:g})")
        click.echo(f"    {each['does']}")


@command.command("set")
@click.argument("key")
@click.argument("value")
@folder_option
@json_option
def set_setting(key: str, value: str, folder: Path, as_json: bool) -> None:
    """Set one over the environment and the files; it is written down who did."""
    _put(key, value, folder, as_json=as_json)


@command.command("clear")
@click.argument("key")
@folder_option
@json_option
def clear_setting(key: str, folder: Path, as_json: bool) -> None:
    """Let the environment or the files say it again."""
    _put(key, None, folder, as_json=as_json)


def _put(key: str, value: str | None, folder: Path, *, as_json: bool) -> None:
    answer = client_of(folder).tell("/api/v1/settings", {"key": key, "value": value}, method="PUT")
    tell(answer, _words(answer), as_json=as_json)


def _words(setting: dict[str, Any]) -> str:
    by = f", set by {setting['set_by']}" if setting["set_by"] else ""
    return f"{setting['key']} = {setting['value']:g}  from {setting['source']}{by}"
