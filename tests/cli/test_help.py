"""Every command says what it does; `headrace` alone imports none of them."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from headrace import __version__
from headrace.cli import main


def commands_of(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every command and group, the root's first."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands_of(below, (*path, name))


def command_at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


COMMANDS = list(commands_of(main))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(path: tuple[str, ...], option: str):
    result = CliRunner().invoke(main, [*path, option])
    assert result.exit_code == 0
    usage, _, explained = result.output.partition("\n\n")
    assert usage.startswith(f"Usage: main {' '.join(path)}".rstrip())
    assert explained.strip().splitlines()[0].strip()[0].isupper()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_that_takes_nothing_but_a_name_has_words_or_a_default(path: tuple[str, ...]):
    options = [each for each in command_at(path).params if isinstance(each, click.Option)]
    assert [each.name for each in options if not (each.help or each.show_default)] == []


def test_the_version_is_the_packages():
    result = CliRunner().invoke(main, ["--version"])
    assert result.output == f"main, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["runs", "show"], ["schedules", "next"], ["dev", "--port", "0"], ["runs", "lst"]]
)
def test_a_wrong_use_says_so_and_exits_2(arguments: list[str]):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output
    assert "Try 'main" in result.output
