"""Tables of the documents say what the code says: settings, commands, dependencies, files."""

import re
import tomllib
from collections.abc import Iterator

import click

from headrace.cli import main
from headrace.contract.operations import Permission
from tests.examples.fences import ROOT, fences_of, table_under


def names_in(cells: list[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_setting_is_in_the_table_and_every_row_is_a_setting():
    source = (ROOT / "src/headrace/config/settings.py").read_text()
    read = re.findall(r'data_key="(\w+)"', source)
    assert len(read) > 10
    listed = names_in(table_under("docs/architecture.md", "Settings of the service (environment)"))
    assert sorted(listed) == sorted(read)


def commands_of(group: click.Group, path: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{path} {name}")
        else:
            yield f"{path} {name}"


def test_every_command_is_in_the_readme_and_every_row_is_a_command():
    rows = names_in(table_under("README.md", "Commands"))
    listed = [re.sub(r"( \[?[A-Z_]+\]?)+$", "", row) for row in rows]
    assert sorted(listed) == sorted(commands_of(main, "headrace"))


def test_every_dependency_has_its_row_and_every_row_is_a_dependency():
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run = document["project"]["dependencies"]
    dev = document["project"]["optional-dependencies"]["dev"] + document["build-system"]["requires"]
    assert set(names_in(table_under("docs/dependencies.md", "At run time"))) == packages(run)
    assert set(names_in(table_under("docs/dependencies.md", "For development"))) == packages(dev)


def packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def test_every_module_of_the_queue_server_is_in_the_list():
    (block,) = [fence for fence in fences_of("docs/architecture.md") if fence.text.startswith("engine/")]
    listed = [line.split()[0] for line in block.text.splitlines()]
    source = ROOT / "src/headrace"
    modules = [path for room in ("engine", "cloud") for path in (source / room).rglob("*.py")]
    assert sorted(listed) == sorted(str(path.relative_to(source)) for path in modules if path.name != "__init__.py")
    assert listed


def test_every_room_is_in_the_table_of_rooms():
    rooms = names_in(table_under("docs/architecture.md", "Rooms"))
    source = ROOT / "src/headrace"
    there = {f"headrace.{path.parent.name}" for path in source.glob("*/__init__.py")}
    assert there <= set(rooms)


def test_every_permission_is_in_the_table_of_permissions():
    assert names_in(table_under("docs/operators.md", "Permissions")) == list(Permission)
