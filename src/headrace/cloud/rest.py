"""The HTTP side of the queue server: an ASGI application with a table of routes.

GET /.well-known/openid-configuration    where a receiver of pushes finds the issuer's keys
GET /oauth2/v3/certs                     the keys (JWKS)
GET /healthz                             200 while the server serves
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
import uvicorn

from headrace.cloud.oidc import TokenIssuer

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JWKS_PATH = "/oauth2/v3/certs"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON document."""

    status: int
    document: Mapping[str, Any]


Route: TypeAlias = Callable[[Scope], Awaitable[Answer]]


class RestApplication:
    """Routes a request by method and path; anything else is 404 or 405 in Google's error shape."""

    __slots__ = ("_issuer", "_routes")

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer
        self._routes: dict[str, dict[str, Route]] = {
            "/.well-known/openid-configuration": {"GET": self._get_discovery},
            JWKS_PATH: {"GET": self._get_keys},
            "/healthz": {"GET": self._get_health},
        }

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3). Only HTTP is spoken."""
        if scope["type"] != "http":
            raise ValueError(f"Only HTTP is spoken here, not {scope['type']}.")
        answer = await self._answer(scope)
        body = orjson.dumps(answer.document)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope) -> Answer:
        methods = self._routes.get(scope["path"])
        if methods is None:
            return _refusal(404, "NOT_FOUND", f"There is nothing at {scope['path']}.")
        route = methods.get(scope["method"])
        if route is None:
            return _refusal(405, "UNIMPLEMENTED", f"{scope['path']} takes {', '.join(methods)}.")
        return await route(scope)

    async def _get_discovery(self, scope: Scope) -> Answer:
        # The keys are where the caller found this document, whatever name it knows this server by.
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        return Answer(200, self._issuer.discovery(f"{scope['scheme']}://{host}{JWKS_PATH}"))

    async def _get_keys(self, _scope: Scope) -> Answer:
        return Answer(200, self._issuer.jwks())

    async def _get_health(self, _scope: Scope) -> Answer:
        return Answer(200, {"status": "ok"})


def _refusal(status: int, word: str, message: str) -> Answer:
    return Answer(status, {"error": {"code": status, "message": message, "status": word}})


class RestServer:
    """Serves an application on a bound socket, in the running event loop, from now until `stop`."""

    __slots__ = ("_server", "_serving")

    def __init__(self, application: RestApplication, listener: socket.socket) -> None:
        config = uvicorn.Config(
            application,
            lifespan="off",
            ws="none",
            log_config=None,
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
