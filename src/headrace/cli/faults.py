"""The faults of files, as people and programs read them."""

import dataclasses
import json
from collections.abc import Sequence

import click

from headrace.errors import Fault, Level

_COLOURS = {Level.ERROR: "red", Level.WARNING: "yellow"}


def report(faults: Sequence[Fault], summary: str, *, as_json: bool) -> None:
    """Print a JSON list of the faults, or a line for each and then the summary; end with 1 if one is an error."""
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(fault) | {"level": fault.level.value} for fault in faults]))
    else:
        for fault in faults:
            click.secho(str(fault), fg=_COLOURS[fault.level])
        click.echo(summary)
    if any(fault.level is Level.ERROR for fault in faults):
        raise click.exceptions.Exit(1)


def summarise(path: object, faults: Sequence[Fault], content: str) -> str:
    """One line: how many errors and warnings, or what the file holds."""
    errors = sum(fault.level is Level.ERROR for fault in faults)
    warnings = len(faults) - errors
    counted = [count(number, word) for number, word in ((errors, "error"), (warnings, "warning")) if number]
    parts = counted if errors else [content, *counted]
    return f"{path}: {', '.join(parts)}"


def count(number: int, noun: str) -> str:
    """`1 queue`, `2 queues`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
