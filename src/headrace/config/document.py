"""A YAML file as plain data, with the line and column of every key and value.

Only what a configuration needs is read: mappings, lists, text, numbers, booleans. Anchors, aliases, tags and
keys written twice are faults, as they are for Google's own parser. Numbers are decimal; what YAML 1.1 would
read as octal, hexadecimal, base 60 or a date stays text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from headrace.errors import ConfigError, Fault, Level

MAX_BYTES: Final = 512 * 1024
MAX_DEPTH: Final = 16
MAX_EVENTS: Final = 50_000  # a queue is about 15

Keys = tuple[str | int, ...]
"""Where a value stands in the data: `("queue", 0, "rate")`."""

_CORE: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(
    _CORE + kind for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value")
)
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL: Final = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def fault(self, message: str, level: Level = Level.ERROR) -> Fault:
        return Fault(self.file, self.line, self.column, message, level)


@dataclass(slots=True)
class Document:
    """The data of a file and where each part of it stands. `faults` are those that reading found."""

    file: str
    value: object = None
    keys: dict[Keys, Place] = field(default_factory=dict)
    values: dict[Keys, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place(self, path: Keys) -> Place:
        """Where the value at `path` stands; for one that is missing, what it is missing from."""
        while path not in self.values:
            path = path[:-1]
        return self.values[path]

    def entries(self, section: str) -> Iterator[tuple[int, dict[str, object]]]:
        """The mappings in the list under `section`, with their index; anything else is left out."""
        listed = self.value.get(section) if isinstance(self.value, dict) else None
        for index, entry in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(entry, dict):
                yield index, entry


def read_document(path: Path) -> Document:
    """Read one YAML file of at most 512 KiB.

    Raises ConfigError when there is nothing to judge: no file, no text, no YAML, or nothing in it.
    """
    return parse_document(_read_text(path), str(path))


def parse_document(text: str, file: str) -> Document:
    """The document that a text is; `file` names it in faults. Raises ConfigError as `read_document` does."""
    document = Document(file)
    root = _compose(text, file)
    if root is None:
        raise ConfigError([Fault(document.file, 1, 1, "the file is empty")])
    document.value = _Reader(document).read(root, ())
    return document


def _read_text(path: Path) -> str:
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Fault(file, 0, 0, f"cannot be read: {error.strerror}")]) from error
    if len(content) > MAX_BYTES:
        raise ConfigError([Fault(file, 0, 0, f"is larger than {MAX_BYTES // 1024} KiB")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Fault(file, line, 1, "is not UTF-8 text")]) from error


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        _refuse_unbounded(text, file)
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        problem = str(error.problem or error.context or "cannot be parsed")
        hint = "; indent with spaces, not tabs" if r"'\t'" in problem else ""
        place = _place(file, error.problem_mark or error.context_mark)
        raise ConfigError([place.fault(f"is not YAML: {problem}{hint}")]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([Fault(file, line, 1, f"is not YAML: {error.reason}")]) from error


def _refuse_unbounded(text: str, file: str) -> None:
    """Aliases can make a small file huge, and depth can exhaust the stack: neither reaches the composer."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if number > MAX_EVENTS:
            raise ConfigError([_place(file, event.start_mark).fault("the file has too many entries")])
        if getattr(event, "anchor", None):
            raise ConfigError([_place(file, event.start_mark).fault("anchors and aliases are not supported")])
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ConfigError([_place(file, event.start_mark).fault(f"is nested deeper than {MAX_DEPTH}")])


def _place(file: str, mark: Any) -> Place:
    return Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 0, 0)


class _Reader:
    """Fills a document from the composed nodes."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def read(self, node: yaml.Node, path: Keys) -> object:
        place = self._document.values[path] = _place(self._document.file, node.start_mark)
        if node.tag not in _TAGS:
            self._document.faults.append(place.fault(f"the tag {node.tag} is not supported"))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Keys) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            place = _place(self._document.file, key_node.start_mark)
            key = key_node.value
            if not isinstance(key, str):
                self._document.faults.append(place.fault("a key must be a word"))
            elif key in found:
                self._document.faults.append(place.fault(f"{key}: written twice"))
            else:
                self._document.keys[(*path, key)] = place
                found[key] = self.read(value_node, (*path, key))
        return found


def _scalar(node: yaml.Node) -> str | int | float | bool | None:
    text: str = node.value
    match node.tag.removeprefix(_CORE):
        case "null":
            return None
        case "bool":
            return text.lower() in {"yes", "true", "on"}
        case "int" if _INTEGER.fullmatch(text):
            return int(text)
        case "float" if _DECIMAL.fullmatch(text):
            return float(text)
        case _:
            return text
