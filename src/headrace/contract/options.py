"""`x-job` and `x-task`: what openapi.yaml says about a job or a task handler."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from headrace.contract.limits import limit_fault
from headrace.contract.operations import JobOptions, Overlap, TaskOptions

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
    return JobOptions(**given)


def read_task_options(value: Any) -> TaskOptions:
    """Options from the value of `x-task`.

    Raises OptionFaults.
    """
    given = _load(_TaskSchema(), "x-task", value)
    return TaskOptions(**given)


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


class _Options(Schema):
    class Meta:
        unknown = RAISE


class _JobSchema(_Options):
    overlap = fields.Enum(Overlap, by_value=True, error_messages={"unknown": "is not one of {choices}"})
    time_limit = fields.Function(deserialize=_read_duration, data_key="time-limit")


class _TaskSchema(_Options):
    queue = fields.String(
        required=True,
        validate=validate.Regexp(r"[A-Za-z0-9-]{1,100}\Z", error="is no queue's name: A-Z, a-z, 0-9 and -"),
        error_messages={"required": "is missing: the queue whose tasks this handler does"},
    )
    batch_size = fields.Integer(
        data_key="batch-size", strict=True, validate=validate.Range(min=1, error="is less than 1")
    )
    idempotent = fields.Boolean(truthy={True}, falsy={False}, error_messages={"invalid": "is neither true nor false"})
    time_limit = fields.Function(deserialize=_read_duration, data_key="time-limit")
    schema = fields.String()


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
