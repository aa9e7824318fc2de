"""What the commands share that speak to a running service."""

import json
import os
from pathlib import Path
from typing import Any

import click

from headrace.config.settings import load_settings
from headrace.errors import StartError
from headrace.local.address import find_address
from headrace.local.service import ServiceClient

folder_option = click.option(
    "--app", "folder", type=click.Path(file_okay=False, path_type=Path), default=".", help="The application's folder."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def client_of(folder: Path) -> ServiceClient:
    """The service that `headrace dev` started in the folder, or that the environment names.

    Raises StartError.
    """
    address = find_address(os.environ, load_settings(os.environ, folder=folder).data)
    if address is None:
        raise StartError(
            f"No service is known in {folder}.",
            hint="Start one by: headrace dev. Or set HEADRACE_SERVICE_URL and HEADRACE_ADMIN_TOKEN.",
        )
    return ServiceClient(address)


def tell(answer: dict[str, Any], words: str, *, as_json: bool) -> None:
    """Print what the service answered as JSON, or what was done in words."""
    click.echo(json.dumps(answer) if as_json else words)
