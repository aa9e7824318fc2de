"""Overrides: what an operator set over the environment and the files, audited, in force until it is cleared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from headrace.clock import Clock, rfc3339
from headrace.contract.operations import Contract, Operation
from headrace.database import Database, override_rows
from headrace.database.override_rows import OverrideRow
from headrace.errors import BadRequest, NotFound
from headrace.runs.definitions import BATCH_SIZE, SERVICE, Definition, definitions_of
from headrace.runs.override_copy import OverrideCopy


class LiveValues:
    """The service's settings as they are in force, by a copy of the overrides. Thread-safe.

    `environment` has the values that environment variables set.
    """

    def __init__(self, copy: OverrideCopy, environment: Mapping[str, float]) -> None:
        self._copy = copy
        self._definitions = {each.key: each for each in SERVICE}
        self._base = {each.key: environment.get(each.key, each.default) for each in SERVICE}

    def __getitem__(self, key: str) -> float:
        """The value in force. Call it outside of transactions."""
        row = self._copy.get(key)
        value = None if row is None else _valid(self._definitions[key], row)
        return self._base[key] if value is None else value


@dataclass(frozen=True, slots=True)
class Overrides:
    """The settings that may be changed while the service runs. An override stands over `environment`, this over files.

    `changed` is called when one was set or cleared by this process.
    """

    database: Database
    contract: Contract
    clock: Clock
    environment: Mapping[str, float] = field(default_factory=dict)
    changed: Callable[[], object] = lambda: None

    def list(self) -> Sequence[dict[str, Any]]:
        """Every setting: the value in force, its default, and what it comes from."""
        with self.database.read() as connection:
            found = {row.key: row for row in override_rows.list_overrides(connection)}
        return [self._shown(each, found.get(each.key)) for each in definitions_of(self.contract).values()]

    def put(self, key: str, value: str | None, *, actor: str) -> dict[str, Any]:
        """Override a setting; None clears the override. The setting as it then stands.

        Raises:
            NotFound: there is no such setting.
            BadRequest: the value is none that the setting takes.
        """
        definition = definitions_of(self.contract).get(key)
        if definition is None:
            raise NotFound(f"There is no setting {key}.", hint="GET /api/v1/settings lists them.")
        kept = None if value is None else f"{definition.parse(value):g}"
        with self.database.write() as connection:
            now = int(self.clock.now() * 1000)
            override_rows.set_override(connection, key, kept, now=now, actor=actor)
            shown = self._shown(definition, override_rows.find_override(connection, key))
        self.changed()
        return shown

    def _shown(self, definition: Definition, override: OverrideRow | None) -> dict[str, Any]:
        value = None if override is None else _valid(definition, override)
        source = "override"
        if value is None:
            given = self.environment.get(definition.key)
            value, source = (definition.default, definition.home) if given is None else (given, "environment")
        return {
            "key": definition.key,
            "value": value,
            "default": definition.default,
            "source": source,
            "set_by": override.set_by if override is not None else None,
            "set_at": rfc3339(override.set_at) if override is not None else None,
            "type": "integer" if definition.whole else "number",
            "minimum": definition.lowest,
            "maximum": definition.highest,
            "variable": definition.variable,
            "does": definition.does,
            "takes_effect": definition.read,
        }


def batch_size_of(connection: Connection, operation: Operation) -> int:
    """How many items a batch of this handler has now."""
    assert operation.task is not None
    override = override_rows.find_override(connection, BATCH_SIZE + operation.operation_id)
    return operation.task.batch_size if override is None else int(override.value)


def _valid(definition: Definition, override: OverrideRow) -> float | None:
    """The value of an override; None where a version before allowed what this one does not."""
    try:
        return definition.parse(override.value)
    except BadRequest:
        return None
