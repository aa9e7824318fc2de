"""Do a marshmallow schema, or a field, and a JSON schema describe the same payload?

Both are brought to one form, `Shape`, and compared member by member. What only one of the two can say (a
description, a Python-side default, a bit width) is left out of the form.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import EXCLUDE, INCLUDE, Schema, fields, validate

from headrace.contract.references import Place, follow, pointer_of

_NULL = "null"

# Formats that marshmallow has a field for. Others, such as int64, say nothing that a field could contradict.
_FORMATS = frozenset({"date-time", "date", "time", "uuid", "email", "uri", "ipv4", "ipv6"})

_BOUNDS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "pattern",
)
_COMPOSITION = ("allOf", "anyOf", "oneOf", "not", "if")

# A field is looked up along its class's ancestors, so an application's own subclass counts as its base.
_FIELDS: Mapping[type[fields.Field[Any]], tuple[frozenset[str], str]] = {
    fields.Integer: (frozenset({"integer"}), ""),
    fields.Number: (frozenset({"number"}), ""),
    fields.Boolean: (frozenset({"boolean"}), ""),
    fields.DateTime: (frozenset({"string"}), "date-time"),
    fields.Date: (frozenset({"string"}), "date"),
    fields.Time: (frozenset({"string"}), "time"),
    fields.UUID: (frozenset({"string"}), "uuid"),
    fields.Email: (frozenset({"string"}), "email"),
    fields.Url: (frozenset({"string"}), "uri"),
    fields.IPv4: (frozenset({"string"}), "ipv4"),
    fields.IPv6: (frozenset({"string"}), "ipv6"),
    fields.String: (frozenset({"string"}), ""),
    fields.List: (frozenset({"array"}), ""),
    fields.Mapping: (frozenset({"object"}), ""),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a schema asks of a value. `types` is empty when any will do; `bounds` maps a keyword to its limit.

    `composed` marks allOf, anyOf and the like, which marshmallow has no word for: they are not compared.
    """

    types: frozenset[str] = frozenset()
    format: str = ""
    choices: frozenset[Any] | None = None
    bounds: Mapping[str, Any] = field(default_factory=dict)
    items: "Shape | None" = None
    members: "Mapping[str, Shape] | None" = None
    required: frozenset[str] = frozenset()
    closed: bool = False
    composed: bool = False


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where in the payload the two differ, as a JSON pointer, and how."""

    pointer: str
    message: str


def disagreements(schema: Schema | fields.Field[Any], document: Mapping[str, Any], place: Place) -> list[Disagreement]:
    """How `schema` differs from the JSON schema at `place`; empty when both describe the same.

    Where the JSON schema is an array, `schema` describes one item, unless it is a schema that is `many`.
    """
    contract = _json_shape(document, place)
    if isinstance(schema, Schema) and schema.many:
        return list(_compare(contract, Shape(types=frozenset({"array"}), items=_schema_shape(schema)), ()))
    code = _schema_shape(schema) if isinstance(schema, Schema) else _field_shape(schema)
    if contract.types == {"array"} and contract.items is not None:
        return list(_compare(contract.items, code, ("*",)))
    return list(_compare(contract, code, ()))


def _compare(contract: Shape, code: Shape, place: Place) -> Iterator[Disagreement]:
    if contract.composed or not code.types:
        return
    if contract.types != code.types:
        yield _differ(place, "type", _words(contract.types) or "any", _words(code.types))
        return
    if contract.format != code.format:
        yield _differ(place, "format", contract.format or "none", code.format or "none")
    if contract.choices != code.choices:
        yield _differ(place, "enum", _choices(contract.choices), _choices(code.choices))
    for keyword in sorted({*contract.bounds, *code.bounds}):
        if contract.bounds.get(keyword) != code.bounds.get(keyword):
            yield _differ(place, keyword, contract.bounds.get(keyword, "none"), code.bounds.get(keyword, "none"))
    if contract.items is not None and code.items is not None:
        yield from _compare(contract.items, code.items, (*place, "*"))
    if contract.members is not None and code.members is not None:
        yield from _compare_members(contract, code, place)


def _compare_members(contract: Shape, code: Shape, place: Place) -> Iterator[Disagreement]:
    theirs, ours = contract.members or {}, code.members or {}
    for name in sorted({*theirs, *ours}):
        below = (*place, name)
        if name not in ours:
            yield Disagreement(pointer_of(below), "is in openapi.yaml, but the marshmallow schema has no such field")
        elif name not in theirs:
            yield Disagreement(pointer_of(below), "is a field of the marshmallow schema, but not in openapi.yaml")
        else:
            if (name in contract.required) != (name in code.required):
                yield _differ(
                    below, "required", str(name in contract.required).lower(), str(name in code.required).lower()
                )
            yield from _compare(theirs[name], ours[name], below)
    if code.closed and not contract.closed:
        yield Disagreement(
            pointer_of(place),
            "may have other members in openapi.yaml, which the marshmallow schema refuses: say "
            "additionalProperties: false, or unknown = EXCLUDE",
        )
    if contract.closed and not code.closed:
        yield Disagreement(
            pointer_of(place),
            "may have no other members in openapi.yaml, but the marshmallow schema takes them: say unknown = RAISE",
        )


def _differ(place: Place, what: str, contract: object, code: object) -> Disagreement:
    return Disagreement(
        pointer_of(place), f"{what} is {contract} in openapi.yaml, but {code} in the marshmallow schema"
    )


def _json_shape(document: Mapping[str, Any], place: Place) -> Shape:
    place, node = follow(document, place)
    if not isinstance(node, dict):
        return Shape()
    members = {name: _json_shape(document, (*place, "properties", name)) for name in node.get("properties", {})}
    types = node.get("type", ())
    return Shape(
        types=frozenset([types] if isinstance(types, str) else types),
        format=node["format"] if node.get("format") in _FORMATS else "",
        choices=_json_choices(node),
        bounds={keyword: node[keyword] for keyword in _BOUNDS if keyword in node},
        items=_json_shape(document, (*place, "items")) if "items" in node else None,
        members=members if "properties" in node else None,
        required=frozenset(node.get("required", ())),
        closed=node.get("additionalProperties") is False,
        composed=any(keyword in node for keyword in _COMPOSITION),
    )


def _json_choices(node: Mapping[str, Any]) -> frozenset[Any] | None:
    if "const" in node:
        return frozenset([node["const"]])
    return frozenset(each for each in node["enum"] if each is not None) if "enum" in node else None


def _schema_shape(schema: Schema) -> Shape:
    loaded = {field.data_key or name: field for name, field in schema.load_fields.items()}
    return Shape(
        types=frozenset({"object"}),
        members={name: _field_shape(each) for name, each in loaded.items()},
        required=frozenset(name for name, each in loaded.items() if each.required),
        closed=schema.unknown not in {EXCLUDE, INCLUDE},
    )


def _field_shape(each: fields.Field[Any]) -> Shape:
    types, format_ = _types_of(each)
    items = members = None
    required: frozenset[str] = frozenset()
    closed = False
    choices = _enum_choices(each) if isinstance(each, fields.Enum) else None
    if isinstance(each, fields.List):
        items = _field_shape(each.inner)
    elif isinstance(each, fields.Nested):
        nested = _schema_shape(each.schema)
        if each.many or each.schema.many:
            types, items = frozenset({"array"}), nested
        else:
            types, members, required, closed = nested.types, nested.members, nested.required, nested.closed
    bounds: dict[str, Any] = {}
    for validator in each.validators:
        if isinstance(validator, validate.OneOf):
            choices = frozenset(validator.choices)
        else:
            bounds.update(_validator_bounds(validator, types))
    if each.allow_none and types:
        types |= {_NULL}
    return Shape(types, format_, choices, bounds, items, members, required, closed)


def _types_of(each: fields.Field[Any]) -> tuple[frozenset[str], str]:
    if isinstance(each, fields.Enum):
        return _types_of_values(_enum_choices(each)), ""
    for ancestor in type(each).__mro__:
        if ancestor in _FIELDS:
            return _FIELDS[ancestor]
    return frozenset(), ""


def _enum_choices(each: fields.Enum[Any]) -> frozenset[Any]:
    return frozenset(member.value if each.by_value else member.name for member in each.enum)


def _types_of_values(values: frozenset[Any]) -> frozenset[str]:
    words = {str: "string", bool: "boolean", int: "integer", float: "number"}
    return frozenset(words[type(value)] for value in values if type(value) in words)


def _validator_bounds(validator: object, types: frozenset[str]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    if isinstance(validator, validate.Range):
        low = "minimum" if validator.min_inclusive else "exclusiveMinimum"
        high = "maximum" if validator.max_inclusive else "exclusiveMaximum"
        bounds = {low: validator.min, high: validator.max}
    elif isinstance(validator, validate.Length):
        unit = "Items" if "array" in types else "Length"
        least, most = validator.min, validator.max
        if validator.equal is not None:
            least = most = validator.equal
        bounds = {f"min{unit}": least, f"max{unit}": most}
    elif isinstance(validator, validate.Regexp):
        bounds = {"pattern": validator.regex.pattern}
    return {keyword: limit for keyword, limit in bounds.items() if limit is not None}


def _words(words: frozenset[str]) -> str:
    return " or ".join(sorted(words))


def _choices(choices: frozenset[Any] | None) -> str:
    return "none" if choices is None else ", ".join(sorted(map(str, choices)))
