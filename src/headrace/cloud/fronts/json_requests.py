"""JSON as a request message: proto3's JSON rules, in the words of Google's own front where it refuses.

Names of fields come in lowerCamel or as in the .proto; enums as names or numbers; bytes as base64 of either
alphabet; 64-bit integers as strings or numbers; times, durations and field masks as strings. A refusal is
INVALID_ARGUMENT and carries a google.rpc.BadRequest that names the field. What nests is bounded by the messages,
so no depth of JSON can hurt.
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor

from headrace.cloud.descriptors import Message, message_class
from headrace.cloud.errors import ApiError, invalid

_BadRequest = message_class("google.rpc.BadRequest")
_FIELD_MASK = "google.protobuf.FieldMask"
_ANY = "google.protobuf.Any"
_PARSED = {
    "google.protobuf.Timestamp": "Invalid time format: Failed to parse input",
    "google.protobuf.Duration": "Illegal duration format; duration must end with 's'",
}
"""Messages that are strings in JSON, and what is wrong with a string that does not parse."""
_CONTEXT = 20
"""Characters shown before and after a fault of syntax."""
_SHOWN = 200
"""Characters shown of a value that is refused."""
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_BASE64_URL = str.maketrans("-_", "+/")


def read_json(body: bytes) -> Any:
    """The value of a body; an empty one is an empty object. Raises ApiError for what is no JSON."""
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        start = max(error.pos - _CONTEXT, 0)
        shown = error.doc[start : error.pos + _CONTEXT]
        pointer = " " * (error.pos - start) + "^"
        raise _refuse("", f"Invalid JSON payload received. Unexpected token.\n{shown}\n{pointer}") from error


def fill_message(message: Message, value: Any, path: str = "") -> None:
    """Fill `message` from a JSON object; `path` is where it lies in the request, as `task.http_request`."""
    descriptor = message.DESCRIPTOR
    if not isinstance(value, dict):
        raise _bad_value(path, _type_url(descriptor), value)
    for name, inner in value.items():
        field = _find_field(descriptor, name)
        if field is None:
            place = f" at '{path}'" if path else ""
            raise _refuse(path, f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.')
        if inner is not None:
            _fill_field(message, field, inner, f"{path}.{field.name}" if path else field.name)


def fill_parameter(message: Message, name: str, values: list[str]) -> None:
    """Fill the field that a query parameter names, as `pageSize` or `queue.rate_limits.max_burst_size`."""
    *outer, last = name.split(".")
    for step in outer:
        field = _find_field(message.DESCRIPTOR, step)
        if field is None or field.message_type is None or field.is_repeated:
            raise _unknown_parameter(name)
        message = getattr(message, field.name)
    field = _find_field(message.DESCRIPTOR, last)
    if field is None or (field.message_type is not None and field.message_type.full_name not in _TEXTUAL):
        raise _unknown_parameter(name)
    _fill_field(message, field, values if field.is_repeated else values[-1], name)


def _find_field(descriptor: Any, name: str) -> Any:
    return descriptor.fields_by_camelcase_name.get(name) or descriptor.fields_by_name.get(name)


def _fill_field(message: Message, field: Any, value: Any, path: str) -> None:
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(getattr(message, field.name), field, value, path)
        else:
            _fill_list(getattr(message, field.name), field, value, path)
        return
    _check_oneof(message, field, path)
    if field.message_type is None:
        setattr(message, field.name, _read_scalar(field, value, path))
        return
    inner = getattr(message, field.name)
    # A message that is there and empty is not one that is absent.
    inner.SetInParent()
    _fill_inner(inner, value, path)


def _check_oneof(message: Message, field: Any, path: str) -> None:
    if field.containing_oneof is None:
        return
    taken = message.WhichOneof(field.containing_oneof.name)
    if taken not in (None, field.name):
        outer = path.rpartition(".")[0]
        fault = f"oneof field '{field.containing_oneof.name}' is already set. Cannot set '{field.camelcase_name}'"
        raise _refuse(outer, f"Invalid value at '{outer}' (oneof), {fault}")


def _fill_map(entries: Any, field: Any, value: Any, path: str) -> None:
    """The maps of requests go from strings to strings, all of them."""
    if not isinstance(value, dict):
        raise _bad_value(path, "Map", value)
    text = field.message_type.fields_by_name["value"]
    for key, inner in value.items():
        entries[key] = _read_scalar(text, inner, path)


def _fill_list(items: Any, field: Any, value: Any, path: str) -> None:
    for index, inner in enumerate(value if isinstance(value, list) else [value]):
        place = f"{path}[{index}]"
        if field.message_type is None:
            items.append(_read_scalar(field, inner, place))
        else:
            _fill_inner(items.add(), inner, place)


def _fill_inner(message: Message, value: Any, path: str) -> None:
    name = message.DESCRIPTOR.full_name
    if name == _FIELD_MASK:
        message.paths.extend(map(_snake, _read_paths(value, path)))
    elif name in _PARSED:
        try:
            message.FromJsonString(value)
        except ValueError as error:
            field = _camel(path.rpartition(".")[2])
            fault = f"Field '{field}', {_PARSED[name]}"
            raise _refuse(path, f"Invalid value at '{path}' ({_type_url(message.DESCRIPTOR)}), {fault}") from error
    elif name != _ANY:
        # An Any stands only in fields that the server fills.
        fill_message(message, value, path)


def _read_paths(value: Any, path: str) -> list[str]:
    if not isinstance(value, str):
        raise _bad_value(path, f"type.googleapis.com/{_FIELD_MASK}", value)
    return [part for part in value.split(",") if part]


def _read_scalar(field: Any, value: Any, path: str) -> Any:
    """The value of a scalar or an enum as protobuf takes it."""
    if field.enum_type is not None:
        found, name = _read_enum(field, value), _type_url(field.enum_type)
    else:
        read, name = _SCALARS[field.type]
        found = read(value)
    if found is None:
        raise _bad_value(path, name, value)
    return found


def _read_enum(field: Any, value: Any) -> int | None:
    known = field.enum_type.values_by_name.get(value) if isinstance(value, str) else None
    return known.number if known is not None else _read_int32(value)


def _read_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _read_bytes(value: Any) -> bytes | None:
    if not isinstance(value, str):
        return None
    text = value.translate(_BASE64_URL).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _read_bool(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value) if isinstance(value, str) else None


def _read_double(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _read_int(value: Any, bits: int) -> int | None:
    if (isinstance(value, str) and _INTEGER.fullmatch(value)) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else None


def _read_int32(value: Any) -> int | None:
    return _read_int(value, 32)


def _read_int64(value: Any) -> int | None:
    return _read_int(value, 64)


_TEXTUAL = {_FIELD_MASK, *_PARSED}
"""Messages that a query parameter can fill."""
_SCALARS: dict[int, tuple[Callable[[Any], Any], str]] = {
    FieldDescriptor.TYPE_STRING: (_read_text, "TYPE_STRING"),
    FieldDescriptor.TYPE_BYTES: (_read_bytes, "TYPE_BYTES"),
    FieldDescriptor.TYPE_BOOL: (_read_bool, "TYPE_BOOL"),
    FieldDescriptor.TYPE_DOUBLE: (_read_double, "TYPE_DOUBLE"),
    FieldDescriptor.TYPE_INT32: (_read_int32, "TYPE_INT32"),
    FieldDescriptor.TYPE_INT64: (_read_int64, "TYPE_INT64"),
}
"""How each scalar of these APIs is read (None: it cannot be), and what refusals call its type."""


def _type_url(descriptor: Any) -> str:
    return f"type.googleapis.com/{descriptor.full_name}"


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), name)


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda word: word[1].upper(), name)


def _bad_value(path: str, type_name: str, value: Any) -> ApiError:
    shown = orjson.dumps(value).decode()
    if type_name == "TYPE_BYTES" and isinstance(value, str):
        shown = f"Base64 decoding failed for {shown}"
    return _refuse(path, f"Invalid value at '{path}' ({type_name}), {shown[:_SHOWN]}")


def _unknown_parameter(name: str) -> ApiError:
    fault = f"Cannot bind query parameter. Field '{name}' could not be found in request message."
    return _refuse("", f'Invalid JSON payload received. Unknown name "{name}": {fault}')


def _refuse(path: str, message: str) -> ApiError:
    detail = _BadRequest()
    detail.field_violations.add(field=path, description=message)
    return invalid(message, detail)
