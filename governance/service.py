"""The running service, as its callers know it: over HTTP, on this machine."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

from headrace.errors import HeadraceError

SWEEPS = ("relay", "reap", "reconcile", "resume")
_CRON = {"X-Appengine-Cron": "true"}


class ServiceError(HeadraceError):
    """The service gave no answer, or not the one that was asked for; `status` is 0 without an answer."""

    def __init__(self, message: str, answered: int) -> None:
        super().__init__(message)
        self.answered = answered


@dataclass(frozen=True, slots=True)
class Service:
    """A service on a loopback port. Every method raises ServiceError."""

    port: int
    admin_token: str = field(repr=False)

    def is_ready(self) -> bool:
        """Whether it serves, with a database that it can use."""
        try:
            self._get("/readyz", {}, timeout=5)
        except ServiceError:
            return False
        return True

    def start_job(self, path: str) -> dict[str, Any]:
        """Call a cron endpoint as a scheduler would; what it made: run_id, state, tasks, items, reason."""
        return self._get(path, {**_CRON, "Prefer": "return=representation"}, timeout=180)

    def sweep(self) -> None:
        """Call every sweep that a run may wait for."""
        for name in SWEEPS:
            self._get(f"/v1/cron/headrace/{name}", _CRON, timeout=60)

    def show_run(self, run_id: str) -> dict[str, Any]:
        """One run with its counts, as /api/v1/runs shows it."""
        return self._get(f"/api/v1/runs/{run_id}", {"Authorization": f"Bearer {self.admin_token}"}, timeout=30)

    def _get(self, path: str, headers: Mapping[str, str], timeout: float) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers=dict(headers))
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, HTTPException) as error:
            raise ServiceError(f"GET {path}: no answer ({error!r}).", 0) from error
        finally:
            connection.close()
        if status != 200:
            raise ServiceError(f"GET {path}: {status} {body[:500].decode(errors='replace')}", status)
        found: dict[str, Any] = json.loads(body)
        return found
