"""What the service asks of the rooms behind it, so that its tests can stand in for them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection

from headrace.contract.operations import Operation
from headrace.execution.delivery import Delivery


class RunAnswer(Protocol):
    """What a call of a job's endpoint made."""

    @property
    def run_id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def tasks(self) -> int: ...
    @property
    def items(self) -> int: ...
    @property
    def reason(self) -> str: ...


class JobRunner(Protocol):
    """Starts jobs."""

    def start(self, operation: Operation, parameters: dict[str, Any], firing_key: str | None) -> RunAnswer:
        """Start the job, or go on with the run of the same firing.

        `firing_key` names the firing; None when a person started the job. Raises HeadraceError.
        """
        ...

    def resume(self, run_id: str) -> object:
        """Go on with the split of a run whose splitter is gone."""
        ...


class Pusher(Protocol):
    """Writes tasks by themselves, in the caller's transaction."""

    def push(self, connection: Connection, handler: Callable[..., Any], payload: Any, *, key: str | None = None) -> str:
        """Write a task for `handler`; the id of its run. Raises PushRefused before anything is written."""
        ...


class BatchRunner(Protocol):
    """Executes batches."""

    def deliver(self, operation: Operation, payload: Any, delivery: Delivery, parameters: dict[str, Any]) -> None:
        """Execute the batch of a delivery; return when it is done, now or before.

        Raises Conflict while another attempt holds the batch, Gone when nothing is known of it, and whatever
        the handler raised.
        """
        ...


class Sweeps(Protocol):
    """Finds and mends what was left undone, and counts it; each takes seconds, and is safe to call at any time."""

    def relay(self) -> dict[str, int]: ...
    def reap(self) -> dict[str, int]: ...
    def reconcile(self) -> dict[str, int]: ...
    def resume(self) -> dict[str, int]: ...
    def purge(self) -> dict[str, int]: ...


class RunReader(Protocol):
    """Reads runs for the admin API; answers are JSON objects."""

    def show(self, run_id: str) -> Mapping[str, Any] | None: ...

    def list(self, limit: int, job: str | None, state: str | None) -> Sequence[Mapping[str, Any]]: ...


class Overrides(Protocol):
    """What an operator may set over the files."""

    def list(self) -> Sequence[Mapping[str, Any]]: ...

    def put(self, key: str, value: str | None, *, actor: str) -> Mapping[str, Any]:
        """Set, or clear with None. Raises NotFound and BadRequest."""
        ...


class Readiness(Protocol):
    """Says whether the service can do its work."""

    def problem(self) -> str | None:
        """Why it cannot: the database does not answer, or its schema is not at head. None when it can."""
        ...
