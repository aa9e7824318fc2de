"""JSON schemas of the document, compiled by jsonschema-rs on first use and kept."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from headrace.contract.references import Place, follow, pointer_of

_BASE = "urn:headrace:contract"

# OpenAPI's formats of integers are bounds, which JSON Schema's own vocabulary does not know.
_INTEGER_BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True, slots=True)
class Violation:
    """Where a value breaks its schema, as a JSON pointer, and how. The value itself is not told."""

    pointer: str
    message: str


class Schemas:
    """The schemas of one OpenAPI 3.1 document, found by their place in it. Thread-safe.

    A place may lead through references: `requestBody` stands for what its `$ref` points to.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        bounded = deepcopy(dict(document))
        _bound_integers(bounded)
        self._registry = jsonschema_rs.Registry([(_BASE, bounded)])
        self._validators: dict[Place, jsonschema_rs.Draft202012Validator] = {}

    def violation(self, place: Place, value: Any) -> Violation | None:
        """The first thing in `value` that breaks the schema at `place`; None when all is well."""
        validator = self._validator(place)
        if validator.is_valid(value):
            return None
        error = next(iter(validator.iter_errors(value)))
        return Violation(pointer_of(error.instance_path), error.message)

    def _validator(self, place: Place) -> jsonschema_rs.Draft202012Validator:
        validator = self._validators.get(place)
        if validator is None:
            settled, _ = follow(self._document, place)
            validator = self._validators[place] = jsonschema_rs.Draft202012Validator(
                {"$ref": f"{_BASE}#{quote(pointer_of(settled))}"},
                registry=self._registry,
                validate_formats=True,
                # Messages go to callers and logs: they say "the value", and never what it is.
                mask="the value",
                offline=True,
            )
        return validator


def _bound_integers(node: Any) -> None:
    if isinstance(node, dict):
        bounds = _INTEGER_BOUNDS.get(node["format"]) if isinstance(node.get("format"), str) else None
        if bounds is not None:
            node.setdefault("minimum", bounds[0])
            node.setdefault("maximum", bounds[1])
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _bound_integers(child)
