"""Services on the wire: a grpc.aio server without generated stubs, or a faster one of the same interface."""

import importlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from headrace.clock import Clock
from headrace.cloud.descriptors import Message
from headrace.cloud.errors import CALIFORNIA, ApiError, Code, invalid, unimplemented
from headrace.cloud.fronts.access import Access
from headrace.cloud.fronts.bindings import TASKS
from headrace.cloud.services import Method, Service
from headrace.engine.errors import StoreUnavailable
from headrace.errors import StartError

MAX_REQUEST_BYTES = 32 << 20
"""Largest call taken. One task is at most 1 MiB; a batch of 100 large ones needs more than gRPC's 4 MiB."""
MAX_DEADLINES = {TASKS: 30.0}
"""How far ahead a client's deadline may lie, in seconds, where a service has a rule. Cloud Tasks' own."""

_WITHOUT_END = 1e12
"""Seconds. No deadline on the wire is so far away; a front may say so where there is none."""
_END_OF_TIME = 253402300799
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
_STATUS_DETAILS = "grpc-status-details-bin"
_Parse: TypeAlias = Callable[[bytes], Message]
_Handler: TypeAlias = Callable[[bytes, Any], Awaitable[Message]]


def make_server(
    services: Sequence[Service], access: Access, clock: Clock, address: str, *, is_native: bool = False
) -> tuple[grpc.aio.Server, int]:
    """A server bound to `address` (host:port, port 0 for any free one), not started, and its port.

    `is_native`: HTTP/2 and gRPC are done by pygrpc-native, outside the interpreter's lock. Raises StartError when
    the port is taken, or pygrpc-native is not installed.
    """
    # Without so_reuseport=0 two servers share a port in silence, and each gets half of the calls.
    # The pings that probe for bandwidth cost a tenth of a call and tell nothing on one machine.
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        # A connection that never says what it speaks is let go of.
        ("grpc.server_handshake_timeout_ms", 30_000),
    ]
    server = (_import_native() if is_native else grpc.aio).server(options=options)
    handlers = {
        service.name: {
            name: _unary(_serve(rpc.request_class.FromString, rpc.answer, access, clock, service.name))
            for name, rpc in service.rpcs.items()
        }
        for service in services
    }
    # grpc.aio takes the first kind alone, and pygrpc-native is fast for the second alone.
    server.add_generic_rpc_handlers((_Handlers(handlers, access, clock),))
    for service, methods in handlers.items():
        server.add_registered_method_handlers(service, methods)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        hint = "Stop what listens there, or choose another --grpc-port."
        raise StartError(f"The gRPC address {address} cannot be had.", hint=hint) from error
    return server, port


def _import_native() -> Any:
    try:
        return importlib.import_module("pygrpc_native.aio")
    except ImportError as error:
        raise StartError(
            "The native gRPC front is not installed.",
            hint="Install pygrpc-native (headrace[fast]), or leave --grpc-front out.",
        ) from error


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a call. A method of ours that is not built says so in words."""

    def __init__(self, handlers: Mapping[str, Mapping[str, Any]], access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._handlers = {
            f"/{service}/{name}": handler for service, methods in handlers.items() for name, handler in methods.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        method: str = handler_call_details.method
        return self._handlers.get(method) or _unary(_serve(bytes, _refuse(method), self._access, self._clock, ""))


def _authorization(metadata: Any) -> str | None:
    for name, value in metadata or ():
        if name == "authorization" and isinstance(value, str):
            return value
    return None


def _unary(handler: _Handler) -> Any:
    # Requests are parsed by the handler: gRPC has no words for bytes that are no message.
    return grpc.unary_unary_rpc_method_handler(handler, response_serializer=_serialize)


def _serialize(answer: Message) -> bytes:
    data: bytes = answer.SerializeToString()
    return data


def _serve(parse: _Parse, answer: Method, access: Access, clock: Clock, service: str) -> _Handler:
    longest = MAX_DEADLINES.get(service, inf)

    async def handle(request: bytes, context: Any) -> Message:
        try:
            if access.is_needed:
                access.check(_authorization(context.invocation_metadata()))
            _check_deadline(context.time_remaining(), longest, clock)
            return await answer(parse(request))
        except ApiError as refusal:
            return await _abort(context, refusal)
        except StoreUnavailable as error:
            return await _abort(context, ApiError(Code.UNAVAILABLE, str(error)))
        except DecodeError:
            return await _abort(context, invalid("The request is not a message of this method."))

    return handle


def _check_deadline(remaining: float | None, longest: float, clock: Clock) -> None:
    """Refuse a call whose client waits too long; `remaining` in seconds, None for one without end."""
    if remaining is not None and longest < remaining < _WITHOUT_END:
        until = datetime.fromtimestamp(min(clock.now() + remaining, _END_OF_TIME), CALIFORNIA).isoformat()
        raise invalid(f"The request deadline is {until}. The deadline cannot be more than {longest:g}s in the future.")


def _refuse(method: str) -> Method:
    async def answer(_request: Message) -> Message:
        raise unimplemented(method[1:])

    return answer


async def _abort(context: Any, refusal: ApiError) -> Message:
    """End the call with the refusal; the details ride in the trailer that clients look for them in."""
    details = ((_STATUS_DETAILS, refusal.to_status().SerializeToString()),) if refusal.details else ()
    return await context.abort(_STATUS_CODES[refusal.rpc_code], refusal.message, details)
