"""A process's copy of the overrides: read often, and anew only once in its age."""

import threading
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError

from headrace.database import Database, override_rows
from headrace.database.override_rows import OverrideRow

REFRESH_EVERY = 2.0
"""Seconds that a process may go by the overrides that it has read."""

_log = structlog.get_logger(__name__)


class OverrideCopy:
    """The overrides by their keys, at most 2 seconds old by `monotonic`. Thread-safe.

    A copy that cannot be renewed stays in use, as it does for others while one renews it.
    """

    def __init__(self, database: Database, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._monotonic = monotonic
        self._rows: Mapping[str, OverrideRow] = {}
        self._lock = threading.Lock()
        self._renew_at = monotonic()

    def get(self, key: str) -> OverrideRow | None:
        """The override of a key; None where there is none. Call it outside of transactions."""
        if self._monotonic() >= self._renew_at and self._lock.acquire(blocking=False):
            try:
                self._renew()
            finally:
                self._lock.release()
        return self._rows.get(key)

    def forget(self) -> None:
        """Read the overrides again at the next use."""
        self._renew_at = self._monotonic()

    def _renew(self) -> None:
        # First, so that an override which is set meanwhile has them read again.
        self._renew_at = self._monotonic() + REFRESH_EVERY
        try:
            with self._database.read() as connection:
                self._rows = {row.key: row for row in override_rows.list_overrides(connection)}
        except SQLAlchemyError as error:
            _log.warning("overrides were not read again", error=str(error))
