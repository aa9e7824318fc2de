"""Runs that a person cancels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from headrace.clock import Clock
from headrace.database import Database, audit_rows, run_rows
from headrace.errors import NotFound, WrongState
from headrace.runs.cancelling import cancel_waking
from headrace.runs.policy import RunPolicy


@dataclass(frozen=True, slots=True)
class Cancelling:
    """Cancels runs, and writes who did. `go_on` asks that a run be gone on with soon."""

    database: Database
    clock: Clock
    policy: RunPolicy
    go_on: Callable[[str], None]

    def cancel(self, run_id: str, *, reason: str, actor: str) -> None:
        """Cancel a run: what waits is dropped; its attempts get the policy's grace to stop.

        Raises:
            NotFound: there is no such run.
            WrongState: it has ended, or is cancelled already.
        """
        now = int(self.clock.now() * 1000)
        with self.database.write() as connection:
            state = run_rows.state_of(connection, run_id)
            if state is None:
                raise NotFound(f"There is no run {run_id}.", hint="GET /api/v1/runs lists them.")
            woken = cancel_waking(connection, run_id, reason=reason or _REASON, grace=self.policy.cancel_grace, now=now)
            if woken is None:
                raise WrongState(f"Run {run_id} is {state.value}: there is nothing to cancel.")
            audit_rows.record(
                connection, at=now, actor=actor, action="cancel_run", object=f"run/{run_id}", old=state, new=reason
            )
            for each in woken:
                self.database.after_commit(connection, partial(self.go_on, each))


_REASON = "An operator cancelled it."
