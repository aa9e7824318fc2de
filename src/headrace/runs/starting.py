"""How a run starts, and how one goes on whose splitter is gone."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError, OperationalError

from headrace.clock import Clock
from headrace.contract.operations import Operation, Overlap
from headrace.database import Database, run_rows
from headrace.database.run_rows import RunRow
from headrace.database.states import RunState
from headrace.errors import DriverError, LostLease, PushRefused
from headrace.runs.job import Job
from headrace.runs.policy import RunPolicy
from headrace.runs.pushing import Pusher
from headrace.runs.splitting import OutOfTime, Split

_log = structlog.get_logger(__name__)
# The database or the network, not the job: the resume sweep tries again.
_PASSING = (DriverError, OSError, OperationalError)


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """What a call of a job's endpoint made: the run, its state, and how many tasks and items it has so far."""

    run_id: str
    state: str
    tasks: int
    items: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobStarter:
    """Starts runs. `go_on` asks that a run which is not split to its end be gone on with soon."""

    pusher: Pusher
    policy: RunPolicy
    go_on: Callable[[str], None]

    def start(self, operation: Operation, parameters: dict[str, Any], firing_key: str | None = None) -> RunAnswer:
        """Start a run of a job, or answer with the run that this firing started before.

        Raises:
            PushRefused: see `Job.split`; the run has failed with the reason.
            LostLease: the run was taken over by another splitter.
        """
        run_id, state = self._open(operation, parameters, firing_key)
        if state is RunState.SPLITTING:
            self._split(operation, run_id, parameters, fence=1)
        return self._answer(run_id)

    def resume(self, run_id: str) -> bool:
        """Go on with the split of a run whose splitter is gone; False when there is nothing to go on with.

        Raises:
            PushRefused: openapi.yaml no longer has the job; or see `start`.
        """
        now = self._clock.now()
        until = int((now + self.policy.split_lease) * 1000)
        with self._database.write() as connection:
            fence = run_rows.lease_split(connection, run_id, now=int(now * 1000), until=until)
            run = run_rows.find_run(connection, run_id)
        if fence is None or run is None:
            return False
        operation = self.pusher.contract.by_id.get(run.job)
        if operation is None or operation.job is None:
            reason = f"openapi.yaml no longer has the job {run.job}."
            Split(self.pusher, self.policy, run_id, fence, until=now).seal(reason)
            raise PushRefused(reason)
        _log.info("split goes on", run_id=run_id, fence=fence)
        self._split(operation, run_id, json.loads(run.parameters), fence=fence)
        return True

    def _open(self, operation: Operation, parameters: dict[str, Any], firing_key: str | None) -> tuple[str, RunState]:
        try:
            return self._insert(operation, parameters, firing_key)
        except IntegrityError:
            # Another start of the same firing or job committed first: now its row can be seen.
            return self._insert(operation, parameters, firing_key)

    def _insert(self, operation: Operation, parameters: dict[str, Any], firing_key: str | None) -> tuple[str, RunState]:
        assert operation.job is not None
        job = operation.operation_id
        overlap_key = job if operation.job.overlap is Overlap.SKIP else None
        now = self._clock.now()
        with self._database.write() as connection:
            seen = run_rows.find_run_of_firing(connection, firing_key) if firing_key else None
            if seen is not None:
                return self._seen(operation, seen)
            live = run_rows.find_live_run(connection, overlap_key) if overlap_key else None
            run_id = uuid.uuid4().hex
            run_rows.insert_run(
                connection,
                run_id=run_id,
                job=job,
                parameters=json.dumps(parameters),
                state=RunState.SPLITTING if live is None else RunState.SKIPPED,
                reason="" if live is None else f"Run {live} of this job has not ended (overlap: skip).",
                firing_key=firing_key,
                overlap_key=overlap_key if live is None else None,
                lease_until=int((now + self.policy.split_lease) * 1000) if live is None else None,
                now=int(now * 1000),
            )
        if live is not None:
            _log.warning("run skipped", run_id=run_id, job=job, live_run=live)
        return run_id, RunState.SPLITTING if live is None else RunState.SKIPPED

    def _seen(self, operation: Operation, run: RunRow) -> tuple[str, RunState]:
        if run.state is RunState.SPLITTING:
            self.go_on(run.id)
        _log.info("firing seen before", run_id=run.id, job=operation.operation_id)
        return run.id, RunState.RUNNING

    def _split(self, operation: Operation, run_id: str, parameters: dict[str, Any], *, fence: int) -> None:
        assert operation.job is not None
        now = self._clock.now()
        split = Split(self.pusher, self.policy, run_id, fence, until=now + operation.job.time_limit)
        try:
            operation.function(Job(run_id, now, parameters, split), **parameters)
        except OutOfTime:
            split.release()
            self.go_on(run_id)
        except LostLease:
            raise
        except Exception as error:
            # A boundary: whatever the job's own code raised is the run's reason, and goes on to the caller.
            if isinstance(error, _PASSING) and fence < self.policy.max_splitters:
                split.release()
            else:
                split.seal(f"{type(error).__name__}: {error}")
            raise
        else:
            split.seal()

    def _answer(self, run_id: str) -> RunAnswer:
        with self._database.read() as connection:
            run = run_rows.find_run(connection, run_id)
            steps = run_rows.list_steps(connection, run_id)
        assert run is not None
        return RunAnswer(
            run_id,
            run.state,
            sum(step.batches for step in steps),
            sum(step.item_count for step in steps),
            run.reason,
        )

    @property
    def _database(self) -> Database:
        return self.pusher.database

    @property
    def _clock(self) -> Clock:
        return self.pusher.clock
