"""Services on the wire: a grpc.aio server without generated stubs."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import grpc
import grpc.aio

from headrace.clock import Clock
from headrace.cloud.descriptors import Message
from headrace.cloud.errors import CALIFORNIA, ApiError, Code, invalid, unimplemented
from headrace.cloud.services import Method, Service
from headrace.engine.errors import StoreUnavailable
from headrace.errors import StartError

MAX_REQUEST_BYTES = 32 << 20
"""Largest call taken. One task is at most 1 MiB; a batch of 100 large ones needs more than gRPC's 4 MiB."""

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
_STATUS_DETAILS = "grpc-status-details-bin"
_Handler: TypeAlias = Callable[[Message, Any], Awaitable[Message]]


def make_server(services: Sequence[Service], clock: Clock, address: str) -> tuple[grpc.aio.Server, int]:
    """A server bound to `address` (host:port, port 0 for any free one), not started, and its port.

    Raises StartError when the port is taken.
    """
    # Without so_reuseport=0 two servers share a port in silence, and each gets half of the calls.
    # The pings that probe for bandwidth cost a tenth of a call and tell nothing on one machine.
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((_Handlers(services, clock),))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        hint = "Stop what listens there, or choose another --grpc-port."
        raise StartError(f"The gRPC address {address} cannot be had.", hint=hint) from error
    return server, port


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a call. A method of ours that is not built says so in words."""

    def __init__(self, services: Sequence[Service], clock: Clock) -> None:
        self._handlers = {
            f"/{service.name}/{name}": _unary(_serve(rpc.answer, clock), rpc.request_class.FromString)
            for service in services
            for name, rpc in service.rpcs.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        method: str = handler_call_details.method
        handler = self._handlers.get(method)
        return handler if handler is not None else _unary(_refuse(unimplemented(method[1:])))


def _unary(handler: _Handler, read: Callable[[bytes], Message] | None = None) -> Any:
    return grpc.unary_unary_rpc_method_handler(handler, request_deserializer=read, response_serializer=_serialize)


def _serialize(answer: Message) -> bytes:
    data: bytes = answer.SerializeToString()
    return data


def _serve(method: Method, clock: Clock) -> _Handler:
    async def handle(request: Message, context: Any) -> Message:
        try:
            _check_deadline(context.time_remaining(), clock)
            return await method(request)
        except ApiError as refusal:
            return await _abort(context, refusal)
        except StoreUnavailable as error:
            return await _abort(context, ApiError(Code.UNAVAILABLE, str(error)))

    return handle


def _check_deadline(remaining: float | None, clock: Clock) -> None:
    """Refuse a call whose client waits longer than 30 s; `remaining` in seconds, None for one without end."""
    if remaining is not None and remaining > 30:
        until = datetime.fromtimestamp(clock.now() + remaining, CALIFORNIA).isoformat()
        raise invalid(f"The request deadline is {until}. The deadline cannot be more than 30s in the future.")


def _refuse(refusal: ApiError) -> _Handler:
    async def handle(_request: Message, context: Any) -> Message:
        return await _abort(context, refusal)

    return handle


async def _abort(context: Any, refusal: ApiError) -> Message:
    """End the call with the refusal; the details ride in the trailer that clients look for them in."""
    details = ((_STATUS_DETAILS, refusal.to_status().SerializeToString()),) if refusal.help_link else ()
    return await context.abort(_STATUS_CODES[refusal.rpc_code], refusal.message, details)
