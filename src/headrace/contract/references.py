"""Places in a document, JSON pointers (RFC 6901), and the references that lead from one to another."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

Place = tuple[str, ...]


def pointer_of(parts: Iterable[str | int]) -> str:
    """The JSON pointer of a path of keys and indexes."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def place_of(reference: str) -> Place:
    """The place that a reference within the document, such as `#/components/schemas/Id`, points to."""
    parts = unquote(reference).removeprefix("#").split("/")[1:]
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def follow(document: Mapping[str, Any], place: Place, _leading: frozenset[str] = frozenset()) -> tuple[Place, Any]:
    """Go to `place`, through any references on the way: where that is in truth, and what stands there.

    Raises KeyError when there is nothing, or when references lead in a circle.
    """
    settled: Place = ()
    node: Any = document
    for part in place:
        node = _child(node, part)
        settled = (*settled, part)
        reference = node.get("$ref") if isinstance(node, dict) else None
        if isinstance(reference, str):
            if reference in _leading:
                raise KeyError(pointer_of(place))
            settled, node = follow(document, place_of(reference), _leading | {reference})
    return settled, node


def references(node: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every `$ref` below `node`: the place that holds it, and what it says."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield place, node["$ref"]
        for key, child in node.items():
            yield from references(child, (*place, key))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from references(child, (*place, str(index)))


def _child(node: Any, part: str) -> Any:
    if isinstance(node, dict):
        return node[part]
    if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
        return node[int(part)]
    raise KeyError(part)
