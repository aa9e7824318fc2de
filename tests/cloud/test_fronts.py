"""Both gRPC fronts: calls, refusals with their details, tokens, deadlines, and what is no message.

The whole of `tests/cloud` runs over the native one with HEADRACE_GRPC_FRONT=native.
"""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2

from headrace.clock import ManualClock
from headrace.cloud.descriptors import Message
from headrace.cloud.errors import bad_task_id
from headrace.cloud.fronts.access import Access
from headrace.cloud.fronts.bindings import TASKS
from headrace.cloud.fronts.rpc import make_server
from headrace.cloud.services import Rpc, Service
from headrace.cloud.tasks import messages
from headrace.errors import StartError

TOKEN = "a-token-that-is-long-enough"
is_missing = importlib.util.find_spec("pygrpc_native") is None

on_both = pytest.mark.parametrize(
    "is_native",
    [
        pytest.param(False, id="grpcio"),
        pytest.param(True, id="native", marks=pytest.mark.skipif(is_missing, reason="pygrpc-native is not installed")),
    ],
)


async def get_queue(request: Message) -> Message:
    if request.name == "wrong":
        raise bad_task_id(request.name)
    return messages.Queue(name=request.name)


SERVICES = [Service(TASKS, {"GetQueue": Rpc(messages.GetQueueRequest, get_queue)})]
Call = Callable[..., Awaitable[bytes]]


@asynccontextmanager
async def served(*, is_native: bool, token: str | None = None) -> AsyncIterator[Callable[[str], Call]]:
    """What calls a method of a server, by the method's name."""
    server, port = make_server(SERVICES, Access(token), ManualClock(0.0), "127.0.0.1:0", is_native=is_native)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield lambda method: channel.unary_unary(f"/{TASKS}/{method}")
    finally:
        await server.stop(None)


def asked(name: str) -> bytes:
    data: bytes = messages.GetQueueRequest(name=name).SerializeToString()
    return data


async def refusal(call: Awaitable[bytes]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@on_both
def test_a_call_is_answered(is_native: bool) -> None:
    async def run() -> None:
        async with served(is_native=is_native) as method:
            answer = messages.Queue.FromString(await method("GetQueue")(asked("a")))
        assert answer.name == "a"

    asyncio.run(run())


@on_both
def test_a_refusal_brings_its_details(is_native: bool) -> None:
    async def run() -> None:
        async with served(is_native=is_native) as method:
            error = await refusal(method("GetQueue")(asked("wrong")))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        assert status.message == error.details()
        assert len(status.details) == 1

    asyncio.run(run())


@on_both
def test_a_method_that_is_not_served_is_named(is_native: bool) -> None:
    async def run() -> None:
        async with served(is_native=is_native) as method:
            error = await refusal(method("Juggle")(b""))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "Juggle" in (error.details() or "")

    asyncio.run(run())


@on_both
@pytest.mark.parametrize("name", ["GetQueue", "Juggle"])
def test_a_call_without_the_token_is_refused(is_native: bool, name: str) -> None:
    async def run() -> None:
        async with served(is_native=is_native, token=TOKEN) as method:
            error = await refusal(method(name)(asked("a")))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            metadata = (("authorization", f"Bearer {TOKEN}"),)
            assert await method("GetQueue")(asked("a"), metadata=metadata)

    asyncio.run(run())


@on_both
def test_a_deadline_that_is_too_far_away_is_refused(is_native: bool) -> None:
    async def run() -> None:
        async with served(is_native=is_native) as method:
            error = await refusal(method("GetQueue")(asked("a"), timeout=60))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert await method("GetQueue")(asked("a"), timeout=20)

    asyncio.run(run())


@on_both
def test_bytes_that_are_no_message_are_refused(is_native: bool) -> None:
    async def run() -> None:
        async with served(is_native=is_native) as method:
            error = await refusal(method("GetQueue")(b"\xff\xff\xff"))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(run())


@on_both
def test_a_taken_port_is_refused(is_native: bool) -> None:
    async def run() -> None:
        first, port = make_server(SERVICES, Access(None), ManualClock(0.0), "127.0.0.1:0", is_native=is_native)
        with pytest.raises(StartError, match=f"127.0.0.1:{port}"):
            make_server(SERVICES, Access(None), ManualClock(0.0), f"127.0.0.1:{port}", is_native=is_native)
        await first.stop(None)

    asyncio.run(run())


def test_a_front_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygrpc_native.aio", None)

    async def run() -> None:
        with pytest.raises(StartError, match="not installed"):
            make_server(SERVICES, Access(None), ManualClock(0.0), "127.0.0.1:0", is_native=True)

    asyncio.run(run())
