"""What the service asks of the rooms behind it, so that its tests can stand in for them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from wsgiref.types import WSGIApplication

from sqlalchemy import Connection

from headrace.contract.operations import Operation
from headrace.execution.delivery import Delivery
from headrace.runs.firings import Call
from headrace.runs.pushing import Pushed


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

    def start_within(
        self,
        connection: Connection,
        job: Callable[..., Any],
        parameters: dict[str, Any],
        *,
        key: str | None,
        object: str | None = None,
    ) -> str:
        """Start a run of the job that this function is, in the caller's transaction; its id. Raises PushRefused."""
        ...

    def resume(self, run_id: str) -> object:
        """Go on with the split of a run whose splitter is gone."""
        ...

    def cancel(self, connection: Connection, run_id: str, reason: str) -> bool:
        """Cancel a run, in the caller's transaction; False when it has ended."""
        ...


class Firings(Protocol):
    """Answers calls of jobs' endpoints."""

    def call(self, operation: Operation, parameters: dict[str, Any], call: Call) -> RunAnswer | None:
        """Start the job, or go on with the run of the same firing; None: nothing is due. Raises HeadraceError."""
        ...


class Schedules(Protocol):
    """What an operator sees of schedules, and does to them. Raises NotFound, Forbidden, WrongState, BadRequest."""

    def list(self) -> Sequence[Mapping[str, Any]]: ...

    def edit(self, url: str, changes: Mapping[str, str | None], *, actor: str) -> Mapping[str, Any]: ...

    def pause(self, url: str, *, actor: str) -> Mapping[str, Any]: ...

    def resume(self, url: str, *, actor: str) -> Mapping[str, Any]: ...

    def send(self, url: str, *, actor: str) -> str:
        """Start a run now; its id."""
        ...


class Pusher(Protocol):
    """Writes tasks by themselves, in the caller's transaction."""

    def push(
        self,
        connection: Connection,
        handler: Callable[..., Any],
        payload: Any,
        *,
        key: str | None = None,
        while_active: bool = False,
        key_ttl: float | None = None,
        at: float | None = None,
        owner: str | None = None,
        object: str | None = None,
    ) -> Pushed:
        """Write a task for `handler`. Raises PushRefused before anything is written."""
        ...

    def reschedule(self, connection: Connection, run_id: str, at: float) -> bool:
        """Have a task that has not begun executed at another time; False when it is none."""
        ...


class BatchRunner(Protocol):
    """Executes batches."""

    def claimed(self, delivery: Delivery) -> bytes:
        """The payload of a task that carries a ticket for it. Raises Gone when there is none."""
        ...

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
    def schedules(self) -> dict[str, int]: ...
    def purge(self) -> dict[str, int]: ...
    def alerts(self) -> dict[str, int]: ...
    def sweep(self) -> dict[str, int]: ...


class RunReader(Protocol):
    """Reads runs for the admin API; answers are JSON objects."""

    def show(self, run_id: str) -> Mapping[str, Any] | None: ...

    def list(
        self, limit: int, job: str | None, state: str | None, object: str | None = None
    ) -> Sequence[Mapping[str, Any]]: ...


class Overrides(Protocol):
    """What an operator may set over the files."""

    def list(self) -> Sequence[Mapping[str, Any]]: ...

    def put(self, key: str, value: str | None, *, actor: str) -> Mapping[str, Any]:
        """Set, or clear with None. Raises NotFound and BadRequest."""
        ...


class InProcessQueue(Protocol):
    """The queue of a service that carries its tasks in its own process."""

    @property
    def issuer(self) -> str:
        """Who issues the tokens of its pushes."""
        ...

    def start(self, application: WSGIApplication) -> None:
        """Deliver to `application` from now on. Raises ConfigError and StartError."""
        ...

    def close(self) -> None:
        """Deliver no more, and let what is under way end, within seconds."""
        ...

    def fetch_keys(self, url: str) -> Mapping[str, Any]:
        """What is at a URL of `issuer`: its discovery document, or its keys."""
        ...


class Watchdog(Protocol):
    """Sees to it that attempts keep their time limits."""

    def start(self, recycle: Callable[[], object] | None = None) -> None:
        """Look from now on; `recycle` has this process replaced, which alone rids it of a thread that is stuck."""
        ...

    def stop(self) -> None:
        """Look no more."""
        ...


class Readiness(Protocol):
    """Says whether the service can do its work."""

    def problem(self) -> str | None:
        """Why it cannot: the database does not answer, or its schema is not at head. None when it can."""
        ...
