"""What the handlers' payloads hold, for code. openapi.yaml has the same as JSON schemas; the start compares both."""

from marshmallow import fields, validate

USER_ID = fields.Integer(strict=True, validate=validate.Range(min=1))
"""One item of `UserIds`: the id of a row of `users`."""
