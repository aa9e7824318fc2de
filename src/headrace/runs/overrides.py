"""Overrides: what an operator set over the files, audited, in force from the next split until it is cleared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.contract.operations import Contract, Kind, Operation
from headrace.database import Database, override_rows
from headrace.errors import BadRequest, NotFound

PREFIX = "batch_size."
LARGEST_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Overrides:
    """The settings that may be overridden: `batch_size.<operationId>` of each handler."""

    database: Database
    contract: Contract
    clock: Clock

    def list(self) -> Sequence[dict[str, Any]]:
        """Every setting: the value in force, the file's, and which of the two it is."""
        with self.database.read() as connection:
            found = {row.key: row for row in override_rows.list_overrides(connection)}
        return [
            _shown(operation, found.get(PREFIX + operation.operation_id))
            for operation in self.contract.operations
            if operation.kind is Kind.HANDLER
        ]

    def put(self, key: str, value: str | None, *, actor: str) -> dict[str, Any]:
        """Override a setting; None clears the override. The setting as it then stands.

        Raises:
            NotFound: there is no such setting.
            BadRequest: the value is no whole number from 1 to 10,000.
        """
        operation = self.contract.by_id.get(key.removeprefix(PREFIX)) if key.startswith(PREFIX) else None
        if operation is None or operation.kind is not Kind.HANDLER:
            raise NotFound(f"There is no setting {key}.", hint="GET /api/v1/settings lists them.")
        if value is not None and not (value.isascii() and value.isdecimal() and 1 <= int(value) <= LARGEST_BATCH):
            raise BadRequest(f"{key} takes a whole number from 1 to {LARGEST_BATCH:,}.", pointer="/value")
        with self.database.write() as connection:
            now = int(self.clock.now() * 1000)
            override_rows.set_override(connection, key, value, now=now, actor=actor)
            return _shown(operation, override_rows.find_override(connection, key))


def batch_size_of(connection: Connection, operation: Operation) -> int:
    """How many items a batch of this handler has now."""
    assert operation.task is not None
    override = override_rows.find_override(connection, PREFIX + operation.operation_id)
    return operation.task.batch_size if override is None else int(override.value)


def _shown(operation: Operation, override: override_rows.OverrideRow | None) -> dict[str, Any]:
    assert operation.task is not None
    default = operation.task.batch_size
    return {
        "key": PREFIX + operation.operation_id,
        "value": default if override is None else int(override.value),
        "default": default,
        "source": "openapi.yaml" if override is None else "override",
        "set_by": None if override is None else override.set_by,
    }
