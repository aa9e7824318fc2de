"""What an application takes from the package: `x-headrace` at the root of openapi.yaml names documents of ours.

Their paths and components join the application's own before anything is checked. What the application declares
itself wins: a path, an operation, a security scheme. Other components of one name stand side by side: ours is called
Headrace<name> then.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.contract.document import Document, read_document
from headrace.contract.options import suggestion
from headrace.contract.references import Place, place_of, pointer_of
from headrace.errors import ContractError, Fault

INCLUDE = "x-headrace"
_FOLDER = Path(__file__).with_name("includes")
_SHARED = "answers"
NAMES = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml") if path.stem != _SHARED))
"""What may be named."""
_PREFIX = "Headrace"
_SCHEMES = "securitySchemes"


def include(document: Document) -> Document:
    """The document with all that it names under `x-headrace`; it still tells the file and line of everything in it.

    Raises:
        ContractError: it names what there is not.
    """
    names = document.data.get(INCLUDE, [])
    faults = list(_name_faults(document, names))
    if faults:
        raise ContractError(faults)
    if not names or not _can_be_joined(document.data):
        return document
    data = {**document.data, "paths": dict(document.data.get("paths", {}))}
    data["components"] = {kind: dict(each) for kind, each in document.data.get("components", {}).items()}
    parts = [read_document(_FOLDER / f"{name}.yaml") for name in dict.fromkeys((_SHARED, *names))]
    moved = [dict(_moves(document.data, part.data)) for part in parts]
    references = {pointer_of(here): pointer_of(there) for moves in moved for here, there in moves.items()}
    for part, moves in zip(parts, moved, strict=True):
        for (root, *here), (_, *there) in moves.items():
            _put(data[root], there, _refer(_get(part.data[root], here), references))
    return document.joined(data, zip(parts, moved, strict=True))


def _name_faults(document: Document, names: Any) -> Iterator[Fault]:
    if not isinstance(names, list):
        yield document.fault((INCLUDE,), f"{INCLUDE} is a list of some of {', '.join(NAMES)}.")
        return
    for index, name in enumerate(names):
        if name not in NAMES:
            hint = suggestion(str(name), list(NAMES)) or f" There are {', '.join(NAMES)}."
            yield document.fault((INCLUDE, str(index)), f"{INCLUDE}: there is no {name}.{hint}")


def _can_be_joined(data: Mapping[str, Any]) -> bool:
    """Whether paths and components are mappings; where they are not, the check of the structure says so."""
    components = data.get("components", {})
    below = components.values() if isinstance(components, dict) else [None]
    return all(isinstance(each, dict) for each in (data.get("paths", {}), *below))


def _moves(own: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[tuple[Place, Place]]:
    """What joins of a part: where it stands there, and where in the whole."""
    bound = {
        operation.get("operationId")
        for item in own.get("paths", {}).values()
        if isinstance(item, dict)
        for operation in item.values()
        if isinstance(operation, dict)
    }
    for path, item in part.get("paths", {}).items():
        if path not in own.get("paths", {}) and not any(each["operationId"] in bound for each in item.values()):
            yield ("paths", path), ("paths", path)
    for kind, components in part.get("components", {}).items():
        taken = own.get("components", {}).get(kind, {})
        for name in components:
            if name not in taken:
                yield ("components", kind, name), ("components", kind, name)
            elif kind != _SCHEMES:
                yield ("components", kind, name), ("components", kind, _free(_PREFIX + name, taken))


def _free(name: str, taken: Mapping[str, Any]) -> str:
    return _free(_PREFIX + name, taken) if name in taken else name


def _refer(node: Any, references: Mapping[str, str]) -> Any:
    """A copy of `node` in which every reference leads to where its target stands in the whole."""
    if isinstance(node, list):
        return [_refer(child, references) for child in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _refer(child, references) for key, child in node.items()}
    if isinstance(copy.get("$ref"), str):
        pointer = pointer_of(place_of(copy["$ref"]))
        copy["$ref"] = f"#{references.get(pointer, pointer)}"
    return copy


def _get(node: Any, place: list[str]) -> Any:
    for part in place:
        node = node[part]
    return node


def _put(node: dict[str, Any], place: list[str], value: Any) -> None:
    *above, last = place
    for part in above:
        node = node.setdefault(part, {})
    node[last] = value
