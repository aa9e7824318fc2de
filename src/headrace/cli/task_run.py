"""`headrace tasks run`: a task that waits, executed now."""

from pathlib import Path

import click

from headrace.cli.services import client_of, folder_option, json_option, tell


@click.command("run")
@click.argument("batch_id", type=int)
@folder_option
@json_option
def run(batch_id: int, folder: Path, as_json: bool) -> None:
    """Execute a task that waits now, also while its queue is paused."""
    answer = client_of(folder).tell(f"/api/v1/batches/{batch_id}/run")
    tell(answer, f"task {batch_id} is pushed", as_json=as_json)
