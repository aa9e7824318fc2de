"""A running service as its callers know it: over HTTP."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from headrace.errors import HeadraceError
from headrace.local.address import Address

CRON_HEADER = {"X-Appengine-Cron": "true"}
LARGEST_ANSWER = 10_000_000
ENDED = ("completed", "failed", "cancelled", "skipped")
"""The states of a run that will not change any more, as the admin API words them."""


class ServiceError(HeadraceError):
    """The service gave no answer, or not the one that was asked for; `answered` is 0 without an answer."""

    code = "SERVICE_ERROR"

    def __init__(self, message: str, answered: int = 0, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.answered = answered


@dataclass(frozen=True, slots=True)
class ServiceClient:
    """Speaks to the service at `address`. Every method raises ServiceError."""

    address: Address

    def is_ready(self) -> bool:
        """Whether it serves, with a database that it can use."""
        try:
            self.get("/readyz", timeout=5)
        except ServiceError:
            return False
        return True

    def call_cron(self, path: str, *, timeout: float = 180) -> dict[str, Any]:
        """Call a cron endpoint as a scheduler on this machine would; what it answers when asked for a body."""
        return self.get(path, headers={**CRON_HEADER, "Prefer": "return=representation"}, timeout=timeout)

    def show_run(self, run_id: str) -> dict[str, Any]:
        """One run with its counts."""
        return self.ask(f"/api/v1/runs/{quote(run_id, safe='')}")

    def list_runs(self, *, limit: int, job: str | None = None, state: str | None = None) -> list[dict[str, Any]]:
        """The newest runs first."""
        runs: list[dict[str, Any]] = self.ask("/api/v1/runs", limit=limit, job=job, state=state)["runs"]
        return runs

    def ask(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """GET a path of the admin API, with what is given of `query`."""
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return self._request("GET", f"{path}?{given}" if given else path, headers=self._token())

    def tell(self, path: str, body: Mapping[str, Any] | None = None, *, method: str = "POST") -> dict[str, Any]:
        """Send a path of the admin API a JSON body; none where it is None."""
        return self._request(method, path, headers=self._token(), content=None if body is None else json.dumps(body))

    def clear(self, path: str, *, method: str = "PATCH") -> dict[str, Any]:
        """Send a path of the admin API the JSON null, which clears what was set over a file."""
        return self._request(method, path, headers=self._token(), content="null")

    def _token(self) -> dict[str, str]:
        if self.address.admin_token is None:
            raise ServiceError(
                "The admin API needs a token.", hint="Set HEADRACE_ADMIN_TOKEN, or start the service by: headrace dev"
            )
        return {"Authorization": f"Bearer {self.address.admin_token}"}

    def get(self, path: str, *, headers: Mapping[str, str] | None = None, timeout: float = 30) -> dict[str, Any]:
        """GET a path of the service; its JSON answer, {} where it has no body."""
        return self._request("GET", path, headers=headers, timeout=timeout)

    def _request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: str | None = None,
        timeout: float = 30,
    ) -> dict[str, Any]:
        sent = dict(headers or {}) | ({} if content is None else {"Content-Type": "application/json"})
        parts = urlsplit(self.address.service)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=timeout)
        try:
            connection.request(method, parts.path + path, content, sent)
            response = connection.getresponse()
            status, answered = response.status, response.read(LARGEST_ANSWER)
        except (OSError, HTTPException) as error:
            raise ServiceError(
                f"The service at {self.address.service} does not answer: {error}.",
                hint="Is it running? Start it by: headrace dev",
            ) from error
        finally:
            connection.close()
        if status not in (200, 204):
            raise ServiceError(f"{method} {path}: {status} {_reason(answered)}", status)
        answer: dict[str, Any] = json.loads(answered) if answered else {}
        return answer


def _reason(content: bytes) -> str:
    """What an ErrorResponse says, or the answer's beginning where it is none."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:500].decode(errors="replace")
