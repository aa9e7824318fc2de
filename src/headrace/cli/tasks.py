"""`headrace tasks`: single tasks. Asks the service's admin API."""

import click

from headrace.cli.task_run import run


@click.group("tasks")
def command() -> None:
    """Single tasks.

    Speaks to the service that `headrace dev` started in the application's folder; or to the one that
    HEADRACE_SERVICE_URL names, with the token in HEADRACE_ADMIN_TOKEN.
    """


command.add_command(run)
