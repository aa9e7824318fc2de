"""What the handlers' payloads hold, for code. openapi.yaml has the same as JSON schemas; the start compares both."""

from marshmallow import Schema, fields, validate

USER_ID = fields.Integer(strict=True, validate=validate.Range(min=1))
"""One item of `UserIds`: the id of a row of `users`."""


class DirectoryPage(Schema):
    """One item of `DirectoryPages`: a page of a directory, by the cookie that it is read with."""

    source = fields.String(required=True, validate=validate.Length(min=1, max=40))
    cookie = fields.String(required=True)


class DirectoryObject(Schema):
    """One item of `DirectoryObjects`: an entry of a directory, wherever it stands."""

    source = fields.String(required=True, validate=validate.Length(min=1, max=40))
    uuid = fields.String(required=True, validate=validate.Length(min=1, max=36))


class Export(Schema):
    """One item of `Exports`: a row of `users` or `workspaces` to export; a backfill leaves no stamp."""

    id = fields.Integer(required=True, strict=True, validate=validate.Range(min=1))
    backfill = fields.Boolean(required=True, truthy={True}, falsy={False})


class WorkspaceOperation(Schema):
    """The operation of a workspace to make; all else stands in its row."""

    operation_id = fields.String(required=True, data_key="operationId", validate=validate.Length(min=1, max=32))


class AccessRequestId(Schema):
    """An access request whose time is up."""

    request_id = fields.Integer(required=True, strict=True, data_key="requestId", validate=validate.Range(min=1))
