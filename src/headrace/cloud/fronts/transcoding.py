"""Services as REST: path, query and body make the request message, the answer message makes JSON."""

from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format

from headrace.cloud.descriptors import POOL, Message
from headrace.cloud.errors import ApiError, Code, invalid, unimplemented
from headrace.cloud.fronts.bindings import BINDINGS, QUEUE, Binding
from headrace.cloud.fronts.json_requests import fill_message, fill_parameter, read_json
from headrace.cloud.fronts.routes import MAX_BODY_BYTES, Answer, Call, Route
from headrace.cloud.services import Rpc, Service
from headrace.cloud.tasks.buffer import Buffer

MAX_BATCH_BYTES = 32 << 20
"""Largest body of a batch method."""

_HTTP_STATUSES = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}
"""As google/rpc/code.proto maps them."""
_STANDARD_PARAMETERS = frozenset(
    {
        "access_token",
        "alt",
        "callback",
        "fields",
        "key",
        "oauth_token",
        "prettyPrint",
        "quotaUser",
        "upload_protocol",
        "uploadType",
    }
)
"""Parameters that every Google API takes; those that start with `$` are standard too."""
_ENUMS_AS_NUMBERS = "json;enum-encoding=int"


def api_routes(services: Sequence[Service]) -> list[Route]:
    """One route for each binding. A method that no service has answers UNIMPLEMENTED."""
    rpcs = {f"{service.name}/{name}": rpc for service in services for name, rpc in service.rpcs.items()}
    return [_make_route(binding, rpcs.get(binding.rpc)) for binding in BINDINGS]


def buffer_routes(buffer: Buffer) -> list[Route]:
    """BufferTask, which takes its body as it comes; the answer is a BufferTaskResponse."""

    async def answer(call: Call) -> Answer:
        enums_as_numbers = _check_encoding(call.query)
        variables = call.variables
        task = await buffer.buffer_task(variables["queue"], variables.get("task_id", ""), call.headers, call.body)
        return Answer(200, {"task": _to_json(task, enums_as_numbers=enums_as_numbers)})

    return [
        Route("POST", f"/v2/{{queue={QUEUE}}}/tasks:buffer", answer),
        Route("POST", f"/v2/{{queue={QUEUE}}}/tasks/{{task_id}}:buffer", answer),
    ]


def error_answer(refusal: ApiError) -> Answer:
    """A refusal as Google's REST front shows it."""
    status = _HTTP_STATUSES[refusal.rpc_code]
    error = {"code": status, "message": refusal.message, "status": refusal.rpc_code.name}
    details = _to_json(refusal.to_status()).get("details")
    return Answer(status, {"error": error | {"details": details} if details else error})


def _make_route(binding: Binding, rpc: Rpc | None) -> Route:
    async def answer(call: Call) -> Answer:
        if rpc is None:
            raise unimplemented(binding.rpc)
        enums_as_numbers = _check_encoding(call.query)
        message = await rpc.answer(_read_request(binding, rpc, call))
        return Answer(200, _to_json(message, enums_as_numbers=enums_as_numbers))

    is_batch = ":batch" in binding.template
    return Route(binding.method, binding.template, answer, MAX_BATCH_BYTES if is_batch else MAX_BODY_BYTES)


def _check_encoding(query: Sequence[tuple[str, str]]) -> bool:
    """Whether the caller wants numbers for enums. Raises ApiError when it wants anything but JSON."""
    asked = [value for name, value in query if name in ("alt", "$alt")]
    for encoding in asked:
        if encoding not in ("", "json", _ENUMS_AS_NUMBERS):
            raise invalid(f'Invalid value "{encoding}" for query parameter "alt": this server answers JSON.')
    return _ENUMS_AS_NUMBERS in asked


def _read_request(binding: Binding, rpc: Rpc, call: Call) -> Message:
    """The request message. Where body and path name the same field, the path has the last word."""
    request = rpc.request_class()
    if binding.body == "*":
        fill_message(request, read_json(call.body))
    elif binding.body:
        inner = getattr(request, binding.body)
        inner.SetInParent()
        fill_message(inner, read_json(call.body), binding.body)
    parameters: dict[str, list[str]] = {}
    for name, value in call.query:
        if not name.startswith("$") and name not in _STANDARD_PARAMETERS:
            parameters.setdefault(name, []).append(value)
    for name, values in parameters.items():
        fill_parameter(request, name, values)
    for name, value in call.variables.items():
        *outer, last = name.split(".")
        message = request
        for step in outer:
            message = getattr(message, step)
        setattr(message, last, value)
    return request


def _to_json(message: Message, *, enums_as_numbers: bool = False) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(
        message, use_integers_for_enums=enums_as_numbers, descriptor_pool=POOL
    )
    return document
