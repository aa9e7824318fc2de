"""The HTTP side of the queue server: an ASGI application over `Route`s, and the server that runs it.

To mount routes, give them to `RestApplication`: `Route(method, template, answer)`, where `answer(Call)` gives an
`Answer` or raises ApiError (see routes.py). The application finds the route, asks for the token, bounds and reads
the body, and writes JSON. These routes stand here, and are public:

GET /.well-known/openid-configuration    where a receiver of pushes finds the issuer's keys
GET /oauth2/v3/certs                     the keys (JWKS)
GET /oauth2/v3/tokeninfo                 what an access_token or an id_token says, if it is good
GET /healthz                             200 while the server serves
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import orjson
import uvicorn

from headrace.cloud.errors import ApiError, Code, invalid
from headrace.cloud.fronts.access import Access
from headrace.cloud.fronts.connections import BoundedProtocol
from headrace.cloud.fronts.mounts import MAX_FORM_BYTES, Mount
from headrace.cloud.fronts.routes import Answer, Call, Route, RouteTable
from headrace.cloud.fronts.transcoding import error_answer
from headrace.cloud.tokens import TokenIssuer
from headrace.engine.errors import StoreUnavailable

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JWKS_PATH = "/oauth2/v3/certs"
BODY_SECONDS = 30.0
"""Within this a request's body must have arrived."""
MAX_PARAMETERS = 200
"""Query parameters that a request may have."""


def public_routes(issuer: TokenIssuer) -> list[Route]:
    """Discovery, keys, tokeninfo and health."""

    async def get_discovery(call: Call) -> Answer:
        # The keys are where the caller found this document, whatever name it knows this server by.
        return Answer(200, issuer.discovery(call.origin + JWKS_PATH))

    async def get_keys(_call: Call) -> Answer:
        return Answer(200, issuer.jwks())

    async def get_token_info(call: Call) -> Answer:
        asked = dict(call.query)
        if "access_token" in asked:
            found = issuer.describe_access_token(asked["access_token"])
        else:
            found = issuer.describe_id_token(asked.get("id_token", ""))
        if found is None:
            return Answer(400, {"error": "invalid_token", "error_description": "Invalid Value"})
        return Answer(200, found)

    async def get_health(_call: Call) -> Answer:
        return Answer(200, {"status": "ok"})

    return [
        Route("GET", "/.well-known/openid-configuration", get_discovery, public=True),
        Route("GET", JWKS_PATH, get_keys, public=True),
        Route("GET", "/oauth2/v3/tokeninfo", get_token_info, public=True),
        Route("GET", "/healthz", get_health, public=True),
    ]


class RestApplication:
    """Serves `routes`, and a mounted application; a refusal is answered in Google's error shape."""

    __slots__ = ("_access", "_mount", "_routes")

    def __init__(self, routes: Iterable[Route], access: Access, mount: Mount | None = None) -> None:
        self._routes = RouteTable(routes)
        self._access = access
        self._mount = mount

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3). Only HTTP is spoken."""
        if scope["type"] != "http":
            raise ValueError(f"Only HTTP is spoken here, not {scope['type']}.")
        reader = _BodyReader(receive)
        try:
            if self._mount is not None and self._mount.covers(scope["raw_path"].decode("ascii")):
                await self._pass_on(self._mount, scope, reader, send)
                return
            answer = await self._answer(scope, reader)
        except _Disconnected:
            return
        except ApiError as refusal:
            answer = error_answer(refusal)
        except StoreUnavailable as error:
            answer = error_answer(ApiError(Code.UNAVAILABLE, str(error)))
        body = answer.text.encode() or orjson.dumps(answer.document, option=_layout(scope["query_string"]))
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(body))]
        if not reader.is_done:
            # What is left of the body is not worth reading.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, reader: "_BodyReader") -> Answer:
        route, variables = self._routes.find(scope["method"], scope["raw_path"].decode("ascii"))
        headers = _read_headers(scope)
        if not route.public:
            self._access.check(headers.get("authorization"))
            self._access.check_page(headers.get("origin"), headers.get("host", ""))
        query = _read_query(scope["query_string"])
        body = await reader.read(route.max_body)
        origin = f"{scope['scheme']}://{headers.get('host', '')}"
        return await route.answer(Call(variables, query, headers, body, origin))

    async def _pass_on(self, mount: Mount, scope: Scope, reader: "_BodyReader", send: Send) -> None:
        """Have the mounted application answer. Its own log-in stands where the API asks for the token."""
        headers = _read_headers(scope)
        self._access.check_page(headers.get("origin"), headers.get("host", ""))
        answer = await mount.answer(scope, headers, await reader.read(MAX_FORM_BYTES))
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})


class _Disconnected(Exception):
    """The caller is gone; nobody reads an answer."""


class _BodyReader:
    """Reads the body of one request, once."""

    __slots__ = ("_receive", "is_done")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_done = False

    async def read(self, most: int) -> bytes:
        """The body. Raises ApiError above `most` bytes, or when it takes too long to arrive."""
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not self.is_done:
                    event = await self._receive()
                    if event["type"] == "http.disconnect":
                        raise _Disconnected
                    parts.append(event["body"])
                    size += len(event["body"])
                    if size > most:
                        raise invalid(f"Request payload size exceeds the limit: {most} bytes.")
                    self.is_done = not event["more_body"]
        except TimeoutError as error:
            text = f"The body did not arrive within {BODY_SECONDS:g} seconds."
            raise ApiError(Code.DEADLINE_EXCEEDED, text) from error
        return b"".join(parts)


def _read_headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _read_query(raw: bytes) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS))
    except ValueError as error:
        raise invalid(f"The query has more than {MAX_PARAMETERS} parameters or is not UTF-8.") from error


def _layout(query: bytes) -> int | None:
    return orjson.OPT_INDENT_2 if b"prettyPrint=true" in query else None


class RestServer:
    """Serves an application on a bound socket, in the running event loop, from now until `stop`."""

    __slots__ = ("_server", "_serving")

    def __init__(self, application: RestApplication, listener: socket.socket) -> None:
        config = uvicorn.Config(
            application,
            http=BoundedProtocol,
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Uvicorn(config)
        self._serving = asyncio.create_task(self._server.serve([listener]), name="rest")

    async def stop(self) -> None:
        """Take no request; those under way have a second to end."""
        self._server.should_exit = True
        await self._serving


class _Uvicorn(uvicorn.Server):
    """uvicorn as a guest: signals are the business of the process around it."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()
