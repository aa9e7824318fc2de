"""`x-job` and `x-task`: what openapi.yaml says about a job or a task handler."""

import builtins
import importlib
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from headrace.config.settings import DRIVERS
from headrace.contract.limits import limit_fault
from headrace.contract.operations import JobOptions, Missed, OnTimeout, Overlap, TaskOptions, WhenFull

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh])")

OptionFault = tuple[str, str]


class OptionFaults(Exception):
    """What is wrong with the options: pairs of a key, or "" for all of them, and a message."""

    def __init__(self, faults: list[OptionFault]) -> None:
        super().__init__(faults)
        self.faults = faults


def read_job_options(value: Any) -> JobOptions:
    """Options from the value of `x-job`.

    Raises OptionFaults.
    """
    given = _load(_JobSchema(), "x-job", value)
    if "overlap_limit" in given and given.get("overlap") is not Overlap.ALLOW:
        raise OptionFaults([("overlap-limit", "x-job: overlap-limit stands beside overlap: allow alone.")])
    return JobOptions(**given)


def read_task_options(value: Any) -> TaskOptions:
    """Options from the value of `x-task`.

    Raises OptionFaults.
    """
    given = _load(_TaskSchema(), "x-task", value)
    if "ordered_by" in given and given.get("batch_size", 1) != 1:
        raise OptionFaults([("ordered-by", "x-task: ordered-by stands beside batch-size: 1 alone.")])
    return TaskOptions(**given)


def read_queue_options(value: Any) -> dict[str, Any]:
    """`max_pending` and `when_full` from the value of one queue in `x-queues`.

    Raises OptionFaults.
    """
    return _load(_QueueSchema(), "x-queues", value)


def suggestion(word: str, known: list[str]) -> str:
    """A sentence that offers the nearest of the known words; empty when none is near."""
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _read_duration(value: Any) -> float:
    """Seconds, from a number and a unit: 50s, 5m, 1h."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValidationError(f"is {value!r}; give a number with s, m or h, as in 50s or 5m")
    seconds = float(match[1]) * _UNITS[match[2]]
    fault = limit_fault(seconds)
    if fault is not None:
        raise ValidationError(fault)
    return seconds


def _read_seconds(value: Any) -> float:
    """Seconds, from a number and a unit; for how long something may wait, so without the limits of an attempt."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValidationError(f"is {value!r}; give a number with s, m or h, as in 50s or 5m")
    return float(match[1]) * _UNITS[match[2]]


def _read_errors(value: Any) -> tuple[type[Exception], ...]:
    """Classes of errors, from names of built-in ones and Python paths of others."""
    if not isinstance(value, list):
        raise ValidationError("is a list of errors' names, as in [LookupError, vendor.errors.NotFound]")
    return tuple(_find_error(name) for name in value)


def _find_error(name: Any) -> type[Exception]:
    module, _, last = str(name).rpartition(".")
    try:
        found = getattr(importlib.import_module(module) if module else builtins, last, None)
    except ImportError as error:
        raise ValidationError(f"names {name}, which cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Exception)):
        raise ValidationError(f"names {name}, which is no class of errors")
    return found


def _read_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValidationError("is a list of parameters' names")
    return tuple(value)


def _one_of(words: type[Any], data_key: str) -> fields.Enum[Any]:
    return fields.Enum(words, by_value=True, data_key=data_key, error_messages={"unknown": "is not one of {choices}"})


def _flag(data_key: str) -> fields.Boolean:
    messages: dict[str, Any] = {"invalid": "is neither true nor false"}
    return fields.Boolean(truthy={True}, falsy={False}, data_key=data_key, error_messages=messages)


def _count(data_key: str) -> fields.Integer:
    return fields.Integer(data_key=data_key, strict=True, validate=validate.Range(min=1, error="is less than 1"))


class _Options(Schema):
    class Meta:
        unknown = RAISE


class _JobSchema(_Options):
    overlap = _one_of(Overlap, "overlap")
    overlap_limit = _count("overlap-limit")
    overlap_key = fields.Function(deserialize=_read_names, data_key="overlap-key")
    object = fields.String(error_messages={"invalid": "is the name of a parameter"})
    missed = _one_of(Missed, "missed")
    late_after = fields.Function(deserialize=_read_seconds, data_key="late-after")
    on_start = _flag("on-start")
    time_limit = fields.Function(deserialize=_read_duration, data_key="time-limit")


class _TaskSchema(_Options):
    queue = fields.String(
        required=True,
        validate=validate.Regexp(r"[A-Za-z0-9-]{1,100}\Z", error="is no queue's name: A-Z, a-z, 0-9 and -"),
        error_messages={"required": "is missing: the queue whose tasks this handler does"},
    )
    batch_size = _count("batch-size")
    idempotent = _flag("idempotent")
    time_limit = fields.Function(deserialize=_read_duration, data_key="time-limit")
    schema = fields.String()
    permanent = fields.Function(deserialize=_read_errors)
    fallback = fields.String()
    on_timeout = _one_of(OnTimeout, "on-timeout")
    ordered_by = fields.String(data_key="ordered-by")
    driver = fields.String(validate=validate.OneOf(DRIVERS, error="is not one of {choices}"))


class _QueueSchema(_Options):
    max_pending = _count("max-pending")
    when_full = _one_of(WhenFull, "when-full")


def _load(schema: Schema, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OptionFaults([("", f"{name} is a mapping, as in {name}: {{time-limit: 5m}}.")])
    try:
        loaded: dict[str, Any] = schema.load(value)
    except ValidationError as error:
        raise OptionFaults(list(_faults(schema, name, error))) from error
    return loaded


def _faults(schema: Schema, name: str, error: ValidationError) -> Iterator[OptionFault]:
    known = [field.data_key or key for key, field in schema.fields.items()]
    messages: dict[str, list[str]] = error.messages_dict
    for key, texts in messages.items():
        if key in known:
            yield key, f"{name}: {key} {', '.join(texts)}."
        else:
            yield key, f"{name} has no key {key}.{suggestion(key, known)}"
