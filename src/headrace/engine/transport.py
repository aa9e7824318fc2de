"""What carries a request to its target and brings the answer: `http.Client` over the network, `wsgi.WsgiTransport`
to an application in this process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.engine.address import Origin
from headrace.engine.connection import Answer
from headrace.engine.errors import PushFailed

Ended = Callable[[Answer | PushFailed], None]
"""Gets the answer to a request, or why there is none; called once, in the event loop."""


@dataclass(frozen=True, slots=True)
class Response:
    """A final answer: header names in lower case, and the head of the body (4 KiB)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Transport(Protocol):
    """Sends requests. Belongs to the event loop that first uses it."""

    async def request(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout: float
    ) -> Response:
        """Send one request and wait for its answer, at most `timeout` seconds. Raises PushFailed."""
        ...

    def send(self, origin: Origin, payload: bytes, is_head: bool, timeout: float, ended: Ended) -> object:
        """Send a whole HTTP/1.1 request, within `timeout` seconds. Never calls `ended` before returning."""
        ...

    async def close(self) -> None:
        """Let go of everything; requests under way are dropped without a word."""
        ...
