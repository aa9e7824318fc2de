"""How a document is judged: marshmallow schemas that refuse unknown keys, and their errors as faults."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validates_schema

from headrace.config.document import Document, Keys
from headrace.config.values import order_backoff
from headrace.errors import ConfigError, Fault


class Parsed(fields.Field[Any]):
    """A value that a function of `headrace.config.values` reads. `missing` says what to do without one."""

    def __init__(self, parse: Callable[[object], object], *, missing: str = "") -> None:
        super().__init__(required=bool(missing), error_messages={"required": missing or "is missing"})
        self._parse = parse

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return self._parse(value)


class FileSchema(Schema):
    """A mapping that refuses keys it does not know. A key without a value counts as absent."""

    class Meta:
        unknown = RAISE

    @pre_load
    def _drop_empty(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in self.fields}


class RetrySchema(FileSchema):
    """A mapping with the two back-offs."""

    @validates_schema
    def _order_backoff(self, data: dict[str, Any], **_: Any) -> None:
        order_backoff(data.get("min_backoff_seconds"), data.get("max_backoff_seconds"))


def listed(schema: type[Schema]) -> fields.List[Any]:
    """A list of mappings."""
    return fields.List(
        fields.Nested(schema), error_messages={"invalid": "must be a list; begin each entry with a hyphen"}
    )


def check(schema: Schema, document: Document) -> tuple[dict[str, Any], list[Fault]]:
    """The document's data as `schema` reads it, and every fault; with a fault the data are empty."""
    faults = list(document.faults)
    try:
        loaded: dict[str, Any] = schema.load(document.value)  # type: ignore[arg-type]
    except ValidationError as error:
        return {}, [*faults, *_faults(error.messages, schema, (), document)]
    return loaded, faults


def refuse(faults: Sequence[Fault]) -> None:
    """Raise ConfigError of the faults, in the order of their lines, if there are any."""
    if faults:
        raise ConfigError(sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column)))


def _faults(messages: Any, schema: Schema | None, path: Keys, document: Document) -> Iterator[Fault]:
    """Walk marshmallow's nested messages; `schema` is that of the mapping at `path`."""
    if isinstance(messages, list):
        for message in messages:
            yield document.place(path).fault(f"{path[-1]}: {message}")
        return
    for key, inner in messages.items():
        below = (*path, key)
        if key == "_schema":
            yield document.place(path).fault(f"{_name(path)} must be a mapping of keys to values")
        elif isinstance(key, str) and schema is not None and key not in schema.fields:
            yield (document.keys.get(below) or document.place(below)).fault(_unknown_key(key, schema))
        else:
            yield from _faults(inner, _schema_below(schema, key), below, document)


def _name(path: Keys) -> str:
    if not path:
        return "the file"
    return f"entry {path[-1] + 1}" if isinstance(path[-1], int) else path[-1]


def _schema_below(schema: Schema | None, key: str | int) -> Schema | None:
    """The schema of the mapping under `key`, or of the mappings in the list there; an index keeps it."""
    if schema is None or isinstance(key, int):
        return schema
    inner: object = schema.fields[key]
    if isinstance(inner, fields.List):
        inner = inner.inner
    if not isinstance(inner, fields.Nested):
        return None
    return inner.schema if isinstance(inner.schema, Schema) else None


def _unknown_key(key: str, schema: Schema) -> str:
    near = difflib.get_close_matches(key, schema.fields, n=1)
    if near:
        return f'unknown key "{key}"; did you mean {near[0]}?'
    for name in schema.fields:
        inner = _schema_below(schema, name)
        if inner is not None and key in inner.fields:
            return f'unknown key "{key}"; it belongs under {name}'
    return f'unknown key "{key}"; known here are {", ".join(schema.fields)}'
