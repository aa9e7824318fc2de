"""Bodies of requests: JSON, checked by the schema that the document has for them."""

from dataclasses import dataclass
from typing import Any

import orjson
from werkzeug.wrappers import Request

from headrace.contract.operations import JSON, Contract, Operation
from headrace.contract.references import Place, follow
from headrace.contract.schemas import Schemas
from headrace.errors import BadRequest, WrongContentType


@dataclass(frozen=True, slots=True)
class _Body:
    required: bool
    schema: Place | None


class Bodies:
    """Reads the bodies of one contract's requests. Thread-safe."""

    def __init__(self, contract: Contract) -> None:
        self._schemas: Schemas = contract.schemas
        self._declared = {
            each.operation_id: body for each in contract.operations if (body := _declared(contract, each)) is not None
        }

    def read(self, operation: Operation, request: Request, body: bytes | None = None) -> Any:
        """The decoded body, or what is given for it; None where there is none, or the operation declares none.

        Raises BadRequest with the JSON pointer of what breaks the schema, WrongContentType, or werkzeug's
        RequestEntityTooLarge before a body over the limit is read.
        """
        declared = self._declared.get(operation.operation_id)
        if declared is None:
            return None
        raw = request.get_data() if body is None else body
        if not raw:
            if declared.required:
                raise BadRequest("The request has no body.")
            return None
        if request.mimetype != JSON:
            raise WrongContentType(f"The body must be {JSON}.")
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise BadRequest("The body is not valid JSON.") from error
        if declared.schema is not None:
            violation = self._schemas.violation(declared.schema, value)
            if violation is not None:
                raise BadRequest(f"{violation.pointer or '/'}: {violation.message}.", pointer=violation.pointer)
        return value


def _declared(contract: Contract, operation: Operation) -> _Body | None:
    _, node = follow(contract.document, ("paths", operation.path, operation.method.lower()))
    if "requestBody" not in node:
        return None
    _, body = follow(contract.document, ("paths", operation.path, operation.method.lower(), "requestBody"))
    return _Body(required=body.get("required", False), schema=operation.payload)
