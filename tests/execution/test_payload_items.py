"""What a handler finds in `batch.items`: scalars as they are, objects as the contract's schema makes them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from marshmallow import Schema, ValidationError, fields, post_load, validate

from headrace.execution.delivery import Delivery
from tests.instance import Instance


@dataclass(frozen=True)
class Reading:
    gauge: str
    read_at: datetime


class ReadingSchema(Schema):
    gauge = fields.String(required=True, validate=validate.NoneOf(["broken"]))
    read_at = fields.AwareDateTime(required=True, data_key="readAt")

    @post_load
    def make(self, values: dict[str, Any], **_: Any) -> Reading:
        return Reading(**values)


AT = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
WIRE = {"gauge": "Elbe", "readAt": "2027-01-15T08:00:00Z"}


def items_given(instance: Instance, schema: Schema | fields.Field[Any] | None, payload: Any) -> list[Any]:
    """The items that the handler was given for a task that carries `payload`."""
    given: list[Any] = []
    operation = replace(
        instance.handler, schema=schema, function=lambda batch: given.append((batch.items, batch.payload))
    )
    instance.executor.deliver(operation, payload, Delivery("work", "made-by-somebody-else"), {})
    ((items, kept),) = given
    assert kept is payload
    return items


def test_a_schema_turns_each_object_of_an_array_into_what_it_makes(instance: Instance) -> None:
    assert items_given(instance, ReadingSchema(), [WIRE, WIRE]) == [Reading("Elbe", AT)] * 2


def test_a_schema_turns_a_payload_that_is_one_object_into_one_item(instance: Instance) -> None:
    assert items_given(instance, ReadingSchema(), WIRE) == [Reading("Elbe", AT)]


@pytest.mark.parametrize("schema", [None, fields.Integer(strict=True)])
def test_scalars_pass_as_they_are(instance: Instance, schema: fields.Field[Any] | None) -> None:
    assert items_given(instance, schema, [3, 5]) == [3, 5]


def test_an_item_that_only_the_code_refuses_is_a_failed_attempt(instance: Instance) -> None:
    with pytest.raises(ValidationError):
        items_given(instance, ReadingSchema(), [{**WIRE, "gauge": "broken"}])
    (run,) = instance.progress.list()
    assert (run["state"], run["attempts"], run["tasks"]["done"]) == ("running", 1, 0)
