"""`headrace check`: does an application fit together?"""

import json
import os
from dataclasses import replace
from pathlib import Path

import click
import yaml

from headrace.cli.faults import report, summarise
from headrace.config.settings import load_settings
from headrace.contract.check import check_application, read_contract
from headrace.errors import ConfigError, Fault


@click.command("check")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option(
    "--env", "environment", metavar="NAME", help="Lay queue.NAME.yaml and cron.NAME.yaml over the files first."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of faults instead of lines.")
@click.option(
    "--print", "prints", is_flag=True, help="Judge nothing; print openapi.yaml with all that x-headrace adds."
)
def command(folder: Path, environment: str | None, as_json: bool, prints: bool) -> None:
    """Judge openapi.yaml, queue.yaml and cron.yaml of FOLDER against each other and the code.

    Prints each fault as file:line:column and what to do about it. Exit status 1 when there is an error;
    warnings change nothing.
    """
    if prints:
        document = read_contract(folder).data
        click.echo(json.dumps(document) if as_json else yaml.safe_dump(document, sort_keys=False), nl=as_json)
        return
    faults = check_folder(folder, environment)
    report(faults, summarise(folder, faults, "all fits together"), as_json=as_json)


def check_folder(folder: Path, environment: str | None = None) -> list[Fault]:
    """All faults of an application, as the service would find them at start in that environment."""
    # The files are judged, not this machine: what production requires of its variables is no fault of theirs.
    variables = {**os.environ, "HEADRACE_ENV": "development"}
    try:
        settings = load_settings(variables, folder=folder)
    except ConfigError as error:
        return list(error.faults)
    return check_application(folder, replace(settings, env=environment or settings.env))
