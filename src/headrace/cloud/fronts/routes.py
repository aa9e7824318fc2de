"""Routes of the REST side: a method and a path template, and what answers there.

A part of the server that speaks JSON over HTTP gives `Route`s; `RestApplication` serves them all alike: it bounds
the request, asks for the token, and turns an ApiError into Google's error document.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias
from urllib.parse import unquote

from headrace.cloud.errors import ApiError, Code, invalid

MAX_BODY_BYTES = 2 << 20
"""Largest body of a request; one task of 1 MiB, in base64, fits."""

_VARIABLE = re.compile(r"\{([a-z_.]+)(?:=([^}]*))?\}|\*")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read whole.

    `variables` are the path's, percent-decoded, `query` the parameters in their order, `headers` have names in
    lower case; a header that came more than once is joined by commas. `origin` is the address that the caller
    knows this server by, as `http://host:port`.
    """

    variables: Mapping[str, str]
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    origin: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON document; where there is `text`, that in its place, of its `content_type`."""

    status: int
    document: Mapping[str, Any]
    text: str = ""
    content_type: str = "application/json; charset=UTF-8"


Answerer: TypeAlias = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """`answer` serves `method` on paths that fit `template`; it gives an Answer or raises ApiError.

    A template is a path with `*` for one segment, `{name}` or `{name=projects/*/queues/*}` for a variable, and at
    its end a custom verb where there is one: `/v2/{name=projects/*/locations/*/queues/*}:pause`. Bodies above
    `max_body` bytes are refused. Where the server has a token, a route is served to those who bring it, unless
    it is `public`.
    """

    method: str
    template: str
    answer: Answerer = field(repr=False)
    max_body: int = MAX_BODY_BYTES
    public: bool = False

    def match(self, path: str) -> dict[str, str] | None:
        """The variables of a raw path (percent-encoded, without the query); None when it does not fit.

        Raises ApiError for a path that fits and is not UTF-8.
        """
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        try:
            return {
                name: unquote(value, errors="strict") for name, value in zip(self._names, found.groups(), strict=True)
            }
        except UnicodeDecodeError as error:
            raise invalid("The path is not UTF-8.") from error

    @cached_property
    def _names(self) -> list[str]:
        return [name for name, _ in _VARIABLE.findall(self.template) if name]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts, end = [], 0
        for variable in _VARIABLE.finditer(self.template):
            parts.append(re.escape(self.template[end : variable.start()]))
            one_segment = "[^/]+"
            if variable[1]:
                inner = re.escape(variable[2] or "*").replace(r"\*", one_segment)
                parts.append(f"({inner})")
            else:
                parts.append(one_segment)
            end = variable.end()
        return re.compile("".join(parts) + re.escape(self.template[end:]))


class RouteTable:
    """Finds the route of a request. The first that fits is taken."""

    __slots__ = ("_routes",)

    def __init__(self, routes: Iterable[Route]) -> None:
        # No template spans slashes, so method and number of slashes leave a handful to try.
        self._routes: dict[tuple[str, int], list[Route]] = {}
        for route in routes:
            self._routes.setdefault((route.method, route.template.count("/")), []).append(route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and the variables of its path. Raises ApiError: NOT_FOUND when no route fits."""
        for route in self._routes.get((method, path.count("/")), ()):
            variables = route.match(path)
            if variables is not None:
                return route, variables
        raise ApiError(
            Code.NOT_FOUND,
            f"There is nothing at {method} {path[:200]}. Cloud Tasks is at /v2, Cloud Scheduler at /v1, and this "
            "server's own API at /headrace/v1, such as GET /headrace/v1/queues.",
        )
