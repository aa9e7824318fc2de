"""Requests and responses against the contract: openapi-core reads parameters, jsonschema-rs checks values.

openapi-core is used by its own points of extension alone: a path finder that looks up what Flask has routed
already, schema validators compiled once for each schema, and an unmarshaller that leaves checked values as they
are. Bodies of requests, which are JSON and nothing else, are read without it: see `bodies`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from jsonschema_path import SchemaPath
from openapi_core import Config, OpenAPI, V31ResponseValidator
from openapi_core.casting.schemas import oas31_schema_casters_factory
from openapi_core.contrib.flask import FlaskOpenAPIResponse
from openapi_core.datatypes import RequestParameters
from openapi_core.deserializing.styles import style_deserializers
from openapi_core.deserializing.styles.deserializers import StyleDeserializer
from openapi_core.deserializing.styles.factories import StyleDeserializersFactory
from openapi_core.exceptions import OpenAPIError
from openapi_core.templating.datatypes import TemplateResult
from openapi_core.templating.paths.datatypes import PathOperationServer
from openapi_core.templating.paths.finders import APICallPathFinder
from openapi_core.unmarshalling.request.unmarshallers import V31RequestParametersUnmarshaller
from openapi_core.unmarshalling.schemas.factories import SchemaUnmarshallersFactory
from openapi_core.unmarshalling.schemas.unmarshallers import SchemaUnmarshaller
from openapi_core.validation.request.exceptions import (
    MissingRequiredParameter,
    ParameterValidationError,
)
from openapi_core.validation.schemas.exceptions import InvalidSchemaValue
from openapi_core.validation.schemas.factories import SchemaValidatorsFactory
from openapi_core.validation.schemas.validators import SchemaValidator
from werkzeug.wrappers import Request, Response

from headrace.contract.bodies import Bodies
from headrace.contract.operations import Contract, Operation
from headrace.contract.references import Place, follow
from headrace.contract.schemas import Schemas, Violation
from headrace.errors import BadRequest, HeadraceError

# Resolved places are kept for good: a document has only so many.
_KEPT_PLACES = 1_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """A request that keeps the contract: path and query parameters by name, and the decoded body."""

    parameters: dict[str, Any]
    body: Any


class Validation:
    """Reads requests and checks responses of one contract. Thread-safe."""

    def __init__(self, contract: Contract) -> None:
        # Guards have decided who may call before a request comes here; openapi-core is not asked again.
        document = _without_security(contract.document)
        schemas = _SchemaValidators(contract.schemas)
        openapi = OpenAPI(
            SchemaPath.from_dict(document, resolved_cache_maxsize=_KEPT_PLACES),
            config=Config(
                spec_validator_cls=None,  # checked before, with line numbers
                request_unmarshaller_cls=V31RequestParametersUnmarshaller,
                response_validator_cls=V31ResponseValidator,
                path_finder_cls=_RoutedPaths,
                schema_validators_factory=schemas,
                schema_unmarshallers_factory=_Unmarshallers(schemas),
                style_deserializers_factory=_StyleDeserializers(
                    oas31_schema_casters_factory, style_deserializers=style_deserializers
                ),
                extra_media_type_deserializers={"application/json": _load_json},
            ),
        )
        self._parameters = openapi.request_unmarshaller
        self._responses = openapi.response_validator
        self._bodies = Bodies(contract)
        self._with_parameters = {each.operation_id for each in contract.operations if _has_parameters(contract, each)}

    def read(self, operation: Operation, request: Request, body: bytes | None = None) -> Reading:
        """What a request says, once it is known to keep the contract; `body` stands for its own, where given.

        Raises BadRequest with the JSON pointer of what breaks the schema, WrongContentType, or werkzeug's
        RequestEntityTooLarge before a body over the limit is read.
        """
        parameters = {}
        if operation.operation_id in self._with_parameters:
            result = self._parameters.unmarshal(_RoutedRequest(operation, request))
            for error in result.errors:
                raise _refusal(error) from error
            parameters = {**result.parameters.query, **result.parameters.path}
        return Reading(parameters, self._bodies.read(operation, request, body))

    def read_url(self, operation: Operation, url: str) -> dict[str, Any]:
        """The parameters of a GET of `url`, path and query, which is one of the operation's.

        Raises BadRequest as `read` does.
        """
        return self.read(operation, Request.from_values(url)).parameters

    def check_response(self, operation: Operation, request: Request, response: Response) -> None:
        """See that a response is one that the contract declares.

        Raises HeadraceError, which is an error of the application and not of its caller.
        """
        routed = _RoutedRequest(operation, request)
        for error in self._responses.iter_errors(routed, FlaskOpenAPIResponse(response)):
            raise HeadraceError(
                f"{operation.operation_id} answered {response.status_code}, "
                f"and that breaks the contract: {_describe(error)}.",
                hint="Declare the response in openapi.yaml, or mend the function.",
            ) from error


class _RoutedRequest:
    """A Flask request, as openapi-core wants to see it, with the path that Flask has found."""

    def __init__(self, operation: Operation, request: Request) -> None:
        self.host_url = ""
        self.path = self.path_pattern = operation.path
        self.method = operation.method.lower()
        self.content_type = request.content_type or ""
        self.parameters = RequestParameters(
            query=request.args,
            header=request.headers,
            cookie=request.cookies,
            path=getattr(request, "view_args", None) or {},
        )
        self._request = request

    @property
    def body(self) -> bytes:
        return self._request.get_data()


class _RoutedPaths(APICallPathFinder):
    """openapi-core's path finder: a look-up, because Flask has matched the path."""

    def __init__(self, spec: SchemaPath, base_url: str | None = None) -> None:
        super().__init__(spec, base_url)
        self._operations = {
            (method, pattern): PathOperationServer(path, path / method, None, TemplateResult(pattern, {}), {})
            for pattern, path in (spec / "paths").str_items()
            for method in path.str_keys()
        }

    def find(self, method: str, name: str) -> PathOperationServer:
        return self._operations[method, name]


class _SchemaValidator(SchemaValidator):
    def __init__(self, schemas: Schemas, schema: SchemaPath, place: Place) -> None:
        self.schema = schema
        self._schemas = schemas
        self._place = place

    def validate(self, value: Any) -> None:
        violation = self._schemas.violation(self._place, value)
        if violation is not None:
            raise InvalidSchemaValue("", "", schema_errors=(_Broken(violation),))


class _Broken(OpenAPIError):
    """Carries a violation through openapi-core, which wants schema errors to be exceptions."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.message)
        self.violation = violation


class _SchemaValidators(SchemaValidatorsFactory):
    """openapi-core's factory of schema validators; what jsonschema-rs compiled is kept by `Schemas`."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def create(self, *spec_and_schema: Any, **_options: Any) -> SchemaValidator:
        _, schema = spec_and_schema
        return _SchemaValidator(self._schemas, schema, tuple(map(str, schema.parts)))


class _Unmarshaller(SchemaUnmarshaller):
    """Leaves values as they are; they were checked before."""

    def __init__(self) -> None:
        pass

    def unmarshal(self, value: Any) -> Any:
        return value


class _Unmarshallers(SchemaUnmarshallersFactory):
    """openapi-core's factory of unmarshallers: one does for all schemas."""

    def __init__(self, schemas: _SchemaValidators) -> None:
        self.schema_validators_factory = schemas
        self._unmarshaller = _Unmarshaller()

    def create(self, *_spec_and_schema: Any, **_options: Any) -> SchemaUnmarshaller:
        return self._unmarshaller


class _StyleDeserializers(StyleDeserializersFactory):
    """openapi-core's factory of parameter readers, which makes each of them once."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._made: dict[tuple[Any, ...], StyleDeserializer] = {}

    def create(self, spec: SchemaPath, schema: SchemaPath, style: str, explode: bool, name: str) -> StyleDeserializer:
        key = (schema.parts, style, explode, name)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = super().create(spec, schema, style, explode, name)
        return made


def _load_json(value: bytes, **_parameters: str) -> Any:
    return orjson.loads(value)


def _refusal(error: Exception) -> BadRequest:
    if isinstance(error, ParameterValidationError):
        what = "it is missing" if isinstance(error, MissingRequiredParameter) else _describe(error)
        return BadRequest(f"The {error.location} parameter {error.name}: {what}.")
    return BadRequest("The request breaks the contract.")


def _describe(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, InvalidSchemaValue):
        violation = _violation(cause)
        return f"{violation.pointer} {violation.message}".strip()
    # Texts of openapi-core may quote values, which are not told; its class names are plain enough.
    return str(error) if cause is None else _NAMES.get(type(cause).__name__, type(cause).__name__)


_NAMES = {
    "CastError": "the value is not of the declared type",
    "MediaTypeNotFound": "the content type is not declared",
    "MediaTypeDeserializeError": "the body is not valid JSON",
    "EmptyQueryParameterValue": "the value is empty",
}


def _violation(error: InvalidSchemaValue) -> Violation:
    broken = next(iter(error.schema_errors))
    assert isinstance(broken, _Broken)
    return broken.violation


def _has_parameters(contract: Contract, operation: Operation) -> bool:
    """Whether the operation, or its path, declares parameters of any kind, headers and cookies among them."""
    item, own = ("paths", operation.path), ("paths", operation.path, operation.method.lower())
    return any(follow(contract.document, place)[1].get("parameters") for place in (item, own))


def _without_security(document: Mapping[str, Any]) -> dict[str, Any]:
    open_document = {key: value for key, value in document.items() if key != "security"}
    open_document["paths"] = {
        path: {
            key: {name: value for name, value in node.items() if name != "security"} if isinstance(node, dict) else node
            for key, node in item.items()
        }
        for path, item in document.get("paths", {}).items()
    }
    return open_document
