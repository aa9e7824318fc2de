"""A WSGI application under a path of the REST side: the console, which the server itself knows nothing of."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any
from wsgiref.types import WSGIApplication

from headrace.engine import wsgi
from headrace.engine.address import Origin
from headrace.engine.connection import Answer

MAX_FORM_BYTES = 64 * 1024
"""Largest body of a request to it."""
_THREADS = 4
_OURS = ("content-length", "transfer-encoding")


class Mount:
    """What `make` gives, under `path`: made with the first request, and served in a few threads.

    It says itself who may come in, except that pages of other hosts are refused as they are by the API.
    """

    def __init__(self, path: str, make: Callable[[], WSGIApplication]) -> None:
        self.path = path
        self._make = make
        self._making = Lock()
        self._application: WSGIApplication | None = None
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="headrace-console")

    def covers(self, path: str) -> bool:
        """Whether a raw path of a request is its business."""
        return path == self.path or path.startswith(f"{self.path}/")

    async def answer(self, scope: Any, headers: dict[str, str], body: bytes) -> Answer:
        """Its answer to a request of this ASGI scope."""
        host, port = scope["server"]
        target = scope["raw_path"].decode("ascii")
        if scope["query_string"]:
            target = f"{target}?{scope['query_string'].decode('latin-1')}"
        sent = [(name, value) for name, value in headers.items() if name not in _OURS]
        sent.append(("content-length", str(len(body))))
        environ = wsgi.make_environ(Origin(False, host, port), scope["method"], target, sent, body)
        environ["REMOTE_ADDR"] = scope["client"][0]
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(self._serve, environ))

    def close(self) -> None:
        """Serve nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _serve(self, environ: dict[str, Any]) -> Answer:
        with self._making:
            if self._application is None:
                self._application = self._make()
        return wsgi.answer(self._application, environ)
