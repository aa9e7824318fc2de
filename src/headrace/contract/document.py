"""openapi.yaml as data, with the line and column of everything in it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from headrace.contract.references import Place
from headrace.errors import ContractError, Fault, Level

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# JSON has no dates: what looks like one stays text. The other scalars are what YAML says they are.
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
# Of the places of a path, and of a component.
_LENGTHS = (2, 3)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: `data` is JSON-like, with text for every key; places say where each node begins.

    Parts of other files may stand in it: see `joined`.
    """

    file: str
    data: dict[str, Any]
    _starts: Mapping[Place, tuple[int, int]] = field(repr=False)
    _files: Mapping[Place, str] = field(default_factory=dict, repr=False)

    def start_of(self, place: Place) -> tuple[int, int]:
        """Line and column, from 1, of the key at `place`, or of the nearest thing above it that is there."""
        while place and place not in self._starts:
            place = place[:-1]
        return self._starts.get(place, (1, 1))

    def fault(self, place: Place, message: str, level: Level = Level.ERROR) -> Fault:
        """A fault at `place`."""
        return Fault(self._file_of(place), *self.start_of(place), message, level)

    def joined(self, data: dict[str, Any], parts: Iterable[tuple["Document", Mapping[Place, Place]]]) -> "Document":
        """This document with `data`, in which things of other documents stand: from each, where there and where here.

        Such a thing is a path or a component: its place has two or three parts.
        """
        starts, files = dict(self._starts), dict(self._files)
        for part, moves in parts:
            files |= dict.fromkeys(moves.values(), part.file)
            for place, start in part._starts.items():
                for length in _LENGTHS:
                    if place[:length] in moves:
                        starts[*moves[place[:length]], *place[length:]] = start
        return Document(self.file, data, starts, files)

    def _file_of(self, place: Place) -> str:
        return next((self._files[place[:n]] for n in _LENGTHS if place[:n] in self._files), self.file)


def read_document(path: Path) -> Document:
    """Read a YAML file whose root is a mapping.

    Raises ContractError when it is missing, is no YAML, or says one key twice.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ContractError([Fault(str(path), 0, 0, "There is no such file; the contract begins there.")]) from error
    loader = _Loader(text)
    try:
        reader = _Reader(loader, str(path))
        root = loader.get_single_node()
        data = reader.read(root, ()) if root is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise ContractError([Fault(str(path), *place, f"This is no YAML: {error.problem}.")]) from error
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise ContractError([Fault(str(path), 1, 1, "An OpenAPI document is a mapping of keys to values.")])
    if reader.faults:
        raise ContractError(reader.faults)
    return Document(str(path), data, reader.starts)


class _Reader:
    def __init__(self, loader: Any, file: str) -> None:
        self._loader = loader
        self._file = file
        self.starts: dict[Place, tuple[int, int]] = {(): (1, 1)}
        self.faults: list[Fault] = []

    def read(self, node: yaml.Node, place: Place) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, child in enumerate(node.value):
                self.starts[*place, str(index)] = _start(child)
                items.append(self.read(child, (*place, str(index))))
            return items
        return node.value if node.tag == _TIMESTAMP else self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, child in node.value:
            # Keys stay text: `204:` is the name of a response, not a number.
            name = str(key.value)
            start = _start(key)
            if name in values:
                first = self.starts[*place, name][0]
                self.faults.append(Fault(self._file, *start, f"{name!r} stands here again; first in line {first}."))
            self.starts[*place, name] = start
            values[name] = self.read(child, (*place, name))
        return values


def _start(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
