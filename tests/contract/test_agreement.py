"""A marshmallow schema and a JSON schema agree, or each difference is named, whichever side it is on."""

from enum import Enum
from typing import Any

import pytest
from marshmallow import EXCLUDE, Schema, fields, validate

from headrace.contract.agreement import disagreements


class Disk(Enum):
    SSD = "pd-ssd"
    STANDARD = "pd-standard"


def differences(field: fields.Field[Any], json_schema: dict[str, Any], *, required: bool = False) -> list[str]:
    """How a field and a property of the same name differ."""
    schema = Schema.from_dict({"it": field})()
    document = {
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"it": json_schema},
            "required": ["it"] if required else [],
        }
    }
    return [f"{each.pointer} {each.message}" for each in disagreements(schema, document, ("schema",))]


STRING = {"type": "string"}
AGREEING = [
    (fields.Integer(), {"type": "integer", "format": "int64"}),
    (fields.Float(), {"type": "number"}),
    (fields.Decimal(), {"type": "number"}),
    (fields.Boolean(), {"type": "boolean"}),
    (fields.String(), STRING),
    (fields.DateTime(), {"type": "string", "format": "date-time"}),
    (fields.Date(), {"type": "string", "format": "date"}),
    (fields.UUID(), {"type": "string", "format": "uuid"}),
    (fields.Email(), {"type": "string", "format": "email"}),
    (fields.Url(), {"type": "string", "format": "uri"}),
    (fields.Enum(Disk, by_value=True), {"type": "string", "enum": ["pd-ssd", "pd-standard"]}),
    (fields.String(validate=validate.OneOf(["a", "b"])), {"type": "string", "enum": ["b", "a"]}),
    (fields.String(validate=validate.Length(1, 9)), {"type": "string", "minLength": 1, "maxLength": 9}),
    (fields.String(validate=validate.Length(equal=2)), {"type": "string", "minLength": 2, "maxLength": 2}),
    (fields.String(validate=validate.Regexp("^a$")), {"type": "string", "pattern": "^a$"}),
    (fields.Integer(validate=validate.Range(min=1)), {"type": "integer", "minimum": 1}),
    (
        fields.Integer(validate=validate.Range(0, 5, min_inclusive=False, max_inclusive=False)),
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 5},
    ),
    (fields.Integer(allow_none=True), {"type": ["integer", "null"]}),
    (fields.List(fields.Integer()), {"type": "array", "items": {"type": "integer"}}),
    (
        fields.List(fields.Integer(), validate=validate.Length(max=3)),
        {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
    ),
    (fields.Dict(), {"type": "object"}),
    (fields.Raw(), {"type": "string", "format": "date"}),
    (fields.Integer(), {"oneOf": [{"type": "integer"}, STRING]}),
]


@pytest.mark.parametrize(("field", "json_schema"), AGREEING)
def test_a_field_and_a_property_that_say_the_same_agree(field: fields.Field[Any], json_schema: dict[str, Any]) -> None:
    assert differences(field, json_schema) == []


@pytest.mark.parametrize(
    ("field", "json_schema", "message"),
    [
        (fields.String(), {"type": "integer"}, "type is integer in openapi.yaml, but string in"),
        (fields.Integer(), STRING, "type is string in openapi.yaml, but integer in"),
        (fields.Float(), {"type": "integer"}, "type is integer in openapi.yaml, but number in"),
        (fields.Integer(), {}, "type is any in openapi.yaml, but integer in"),
        (fields.Integer(), {"type": ["integer", "null"]}, "but integer in"),
        (fields.Integer(allow_none=True), {"type": "integer"}, "but integer or null in"),
        (fields.String(), {"type": "string", "format": "date"}, "format is date in openapi.yaml, but none in"),
        (fields.Date(), STRING, "format is none in openapi.yaml, but date in"),
        (fields.String(), {"type": "string", "enum": ["a"]}, "enum is a in openapi.yaml, but none in"),
        (fields.String(validate=validate.OneOf(["a"])), STRING, "enum is none in openapi.yaml, but a in"),
        (
            fields.Enum(Disk),
            {"type": "string", "enum": ["pd-ssd", "pd-standard"]},
            "enum is pd-ssd, pd-standard in openapi.yaml, but SSD, STANDARD in",
        ),
        (fields.Integer(), {"type": "integer", "minimum": 1}, "minimum is 1 in openapi.yaml, but none in"),
        (
            fields.Integer(validate=validate.Range(min=1)),
            {"type": "integer"},
            "minimum is none in openapi.yaml, but 1 in",
        ),
        (fields.String(validate=validate.Length(max=5)), {"type": "string", "maxLength": 6}, "maxLength is 6 in"),
        (
            fields.List(fields.String()),
            {"type": "array", "items": {"type": "integer"}},
            "/it/* type is integer in openapi.yaml, but string in",
        ),
    ],
)
def test_each_difference_is_named_with_its_place(
    field: fields.Field[Any], json_schema: dict[str, Any], message: str
) -> None:
    (difference,) = differences(field, json_schema)

    assert difference.startswith("/it")
    assert message in difference


def test_required_must_be_said_on_both_sides() -> None:
    assert differences(fields.String(required=True), STRING, required=True) == []
    assert differences(fields.String(), STRING, required=True) == [
        "/it required is true in openapi.yaml, but false in the marshmallow schema"
    ]
    assert differences(fields.String(required=True), STRING) == [
        "/it required is false in openapi.yaml, but true in the marshmallow schema"
    ]


class Event(Schema):
    event_id = fields.Integer(data_key="eventId", required=True)
    made_at = fields.DateTime(dump_only=True)


def event_schema(**changes: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["eventId"],
        "properties": {"eventId": {"type": "integer"}},
        **changes,
    }


def test_names_are_those_on_the_wire_and_fields_for_output_do_not_count() -> None:
    assert disagreements(Event(), {"schema": event_schema()}, ("schema",)) == []


def test_a_member_on_one_side_alone_is_named() -> None:
    more = event_schema(properties={"eventId": {"type": "integer"}, "why": STRING})
    less = event_schema(properties={}, required=[])

    assert [each.pointer for each in disagreements(Event(), {"schema": more}, ("schema",))] == ["/why"]
    assert [each.pointer for each in disagreements(Event(), {"schema": less}, ("schema",))] == ["/eventId"]


def test_both_sides_take_other_members_or_neither_does() -> None:
    lax = Event(unknown=EXCLUDE)
    open_schema = event_schema()
    del open_schema["additionalProperties"]

    assert disagreements(lax, {"schema": open_schema}, ("schema",)) == []
    assert (
        "which the marshmallow schema refuses"
        in disagreements(Event(), {"schema": open_schema}, ("schema",))[0].message
    )
    assert (
        "but the marshmallow schema takes them"
        in disagreements(lax, {"schema": event_schema()}, ("schema",))[0].message
    )


def test_a_schema_describes_one_item_of_an_array_or_as_many_the_whole() -> None:
    document = {"schema": {"type": "array", "items": {"$ref": "#/item"}}, "item": event_schema()}

    assert disagreements(Event(), document, ("schema",)) == []
    assert disagreements(Event(many=True), document, ("schema",)) == []
    assert disagreements(Event(many=True), document, ("item",)) != []


USER_ID = fields.Integer(strict=True, validate=validate.Range(min=1))


@pytest.mark.parametrize(
    "json_schema", [{"type": "array", "items": {"type": "integer", "minimum": 1}}, {"type": "integer", "minimum": 1}]
)
def test_a_field_describes_one_scalar_of_an_array_or_the_scalar_itself(json_schema: dict[str, Any]) -> None:
    assert disagreements(USER_ID, {"schema": json_schema}, ("schema",)) == []


@pytest.mark.parametrize(
    ("field", "items", "message"),
    [
        (USER_ID, {"type": "integer"}, "minimum is none in openapi.yaml, but 1 in"),
        (fields.Integer(), {"type": "integer", "minimum": 1}, "minimum is 1 in openapi.yaml, but none in"),
        (fields.String(), {"type": "integer"}, "type is integer in openapi.yaml, but string in"),
    ],
)
def test_a_field_and_the_items_of_an_array_differ_on_either_side(
    field: fields.Field[Any], items: dict[str, Any], message: str
) -> None:
    (difference,) = disagreements(field, {"schema": {"type": "array", "items": items}}, ("schema",))

    assert difference.pointer == "/*"
    assert message in difference.message


def test_nested_schemas_are_compared_to_their_depth() -> None:
    class Report(Schema):
        events = fields.List(fields.Nested(Event), required=True)

    document = {
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "required": ["events"],
            "properties": {"events": {"type": "array", "items": {"$ref": "#/item"}}},
        },
        "item": event_schema(properties={"eventId": STRING}),
    }

    (difference,) = disagreements(Report(), document, ("schema",))

    assert difference.pointer == "/events/*/eventId"
