"""The command line: `headrace GROUP COMMAND`.

One module a group, imported only when the group is used: `headrace --help` imports none of them. Each module
has a click object named `command`.
"""

import importlib
from typing import Any, Final

import click

from headrace.errors import HeadraceError

_GROUPS: Final = {
    "dev": "Run an application on this machine: service and queue server, one command.",
    "check": "Judge an application's files and code together, without starting it.",
    "emulator": "Run the queue server: Cloud Tasks and Cloud Scheduler.",
    "runs": "Show runs: list, show, watch; cancel and retry them.",
    "tasks": "Tasks in any state: list, show, cancel, retry.",
    "dead": "Dead batches: list, show, retry, edit, discard.",
    "decisions": "Batches that wait for a person's decision: list, decide.",
    "alerts": "What is wrong now: list, acknowledge.",
    "tokens": "Tokens of operators: list, issue, revoke.",
    "audit": "Who did what: list.",
    "queues": "Queues: list, pause, resume, purge, limit; judge queue.yaml.",
    "workers": "What executes tasks, and what keeps it from doing so.",
    "settings": "What may be changed while the service runs: list, set, clear.",
    "schedules": "List, judge and change schedules; show when one fires.",
    "database": "Create and migrate the application's tables.",
}


class _Headrace(click.Group):
    """A group that knows the names and one line of each command without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _GROUPS:
            return None
        command: click.Command = importlib.import_module(f"headrace.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_GROUPS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Errors that Headrace raises on purpose end the command with one message and exit status 1."""
        try:
            return super().invoke(ctx)
        except HeadraceError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Headrace, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headrace")
def main() -> None:
    """Headrace runs big jobs as many small HTTP pushes.

    A cron endpoint splits a job into batches, a queue delivers each batch at the rate that queue.yaml
    allows, a handler does the work of one batch.
    """
