"""What a run is about: a word such as user/7, by which it is found again."""

from collections.abc import Mapping
from typing import Any

from headrace.contract.operations import Operation
from headrace.errors import PushRefused

LONGEST = 200


def checked(object: str | None) -> str | None:
    """The object as it is kept, None where there is none.

    Raises PushRefused when it is longer than 200 characters, or has one that databases refuse.
    """
    if not object:
        return None
    if len(object) > LONGEST or not object.isprintable():
        raise PushRefused(
            f"An object is at most {LONGEST} characters that can be printed.",
            hint="Nothing was written. Name what the task is about, as in user/7.",
        )
    return object


def object_of(operation: Operation, parameters: Mapping[str, Any]) -> str | None:
    """The object of a job's run, `<parameter>/<value>`, by its x-job; None where that names none, or it has no value.

    What is longer than an object may be is cut.
    """
    assert operation.job is not None
    name = operation.job.object
    value = None if name is None else parameters.get(name)
    if value is None or value == "":
        return None
    text = f"{name}/{value}"
    return "".join(letter for letter in text if letter.isprintable())[:LONGEST]
