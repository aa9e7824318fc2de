"""How a run starts, and how one goes on whose splitter is gone."""

import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from headrace.clock import Clock
from headrace.contract.operations import Operation
from headrace.database import Database, key_rows, overlap_rows, run_rows, step_rows
from headrace.database.states import RunState
from headrace.errors import DriverError, LostLease, PushRefused
from headrace.observability import traces
from headrace.runs.cancelling import cancel_waking
from headrace.runs.job import Job
from headrace.runs.lineage import parent
from headrace.runs.objects import checked, object_of
from headrace.runs.overlap import Place, find_place
from headrace.runs.policy import RunPolicy
from headrace.runs.pushing import Pusher
from headrace.runs.splitting import OutOfTime, Split, StepsPending

_log = structlog.get_logger(__name__)
# The database or the network, not the job: the resume sweep tries again.
_PASSING = (DriverError, OSError, OperationalError)
# Of an insert: each that fails met a transaction that committed after this one's look.
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Origin:
    """What started a run: a firing has one run for its key. `scheduled_at` is in epoch milliseconds."""

    firing_key: str | None = None
    schedule: str | None = None
    scheduled_at: int | None = None


_BY_HAND = Origin()


@dataclass(frozen=True, slots=True)
class Opened:
    """A run that was written, or, where it is not `new`, the one that the same firing started before."""

    run_id: str
    state: RunState
    new: bool = True


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """What a call of a job's endpoint made: the run, its state, and how many tasks and items it has so far."""

    run_id: str
    state: str
    tasks: int
    items: int
    reason: str


@dataclass(frozen=True, slots=True)
class _New:
    """A run to be written. `lease`: for how many seconds its first splitter holds it; 0: it has none yet."""

    operation: Operation
    parameters: Mapping[str, Any]
    origin: Origin
    lease: float = 0.0
    waits: bool = False
    object: str | None = None


@dataclass(frozen=True, slots=True)
class JobStarter:
    """Starts runs. `go_on` asks that a run which is not split to its end be gone on with soon."""

    pusher: Pusher
    policy: RunPolicy
    go_on: Callable[[str], None]

    def start(self, operation: Operation, parameters: dict[str, Any], firing_key: str | None = None) -> RunAnswer:
        """Start a run of a job and split it, or answer with the run that this firing started before.

        Raises:
            PushRefused: see `Job.split`; the run has failed with the reason.
            LostLease: the run was taken over by another splitter.
        """
        with self.database.write() as connection:
            opened = self.open(connection, operation, parameters, Origin(firing_key))
        return self.split(operation, parameters, opened)

    def open(self, connection: Connection, operation: Operation, parameters: dict[str, Any], origin: Origin) -> Opened:
        """Write a run in the caller's transaction. Hand it to `split` after the commit: its lease is the caller's."""
        return self._open(connection, _New(operation, parameters, origin, lease=self.policy.split_lease))

    def split(self, operation: Operation, parameters: dict[str, Any], opened: Opened) -> RunAnswer:
        """Split a run that `open` wrote, where it began with that. Raises as `start`."""
        if opened.new and opened.state is RunState.SPLITTING:
            self._split(operation, opened.run_id, parameters, fence=1, failures=0)
        return self.answer(opened.run_id)

    def start_later(
        self,
        connection: Connection,
        operation: Operation,
        parameters: dict[str, Any],
        origin: Origin = _BY_HAND,
        *,
        waits: bool = False,
        object: str | None = None,
    ) -> Opened:
        """Write a run in the caller's transaction; a task of its own splits it, soon after the commit.

        `waits`: it is to run in any case, so it queues where its job's overlap policy would skip or replace.
        `object`: what it is about, where that is not what its x-job says.
        """
        return self._open(connection, _New(operation, parameters, origin, waits=waits, object=checked(object)))

    def start_once(
        self,
        connection: Connection,
        operation: Operation,
        parameters: dict[str, Any],
        *,
        key: str,
        ttl: float,
        waits: bool = False,
        object: str | None = None,
    ) -> Opened:
        """As `start_later`, once for a key: for `ttl` seconds the same run answers, also when it is long purged."""
        key_rows.lock_key(connection, key)
        now = int(self.clock.now() * 1000)
        first = key_rows.find_key(connection, key, now=now)
        if first is not None:
            return Opened(first, run_rows.state_of(connection, first) or RunState.COMPLETED, new=False)
        opened = self.start_later(connection, operation, parameters, waits=waits, object=object)
        key_rows.keep_key(connection, key, run_id=opened.run_id, expires_at=now + int(ttl * 1000))
        return opened

    def start_within(
        self,
        connection: Connection,
        job: Callable[..., Any],
        parameters: dict[str, Any],
        *,
        key: str | None,
        object: str | None = None,
    ) -> str:
        """Start a run of the job that this function is, in the caller's transaction, once for a key; its id.

        Raises:
            PushRefused: the function is no job of the contract, or the object is too long.
        """
        operation = self.pusher.contract.job_of(job)
        if key is None:
            return self.start_later(connection, operation, parameters, object=object).run_id
        name = f"job/{operation.operation_id}/{key}"
        ttl = self.policy.key_ttl
        return self.start_once(connection, operation, parameters, key=name, ttl=ttl, object=object).run_id

    def cancel(self, connection: Connection, run_id: str, reason: str) -> bool:
        """Cancel a run, in the caller's transaction; False when it has ended."""
        now = int(self.clock.now() * 1000)
        woken = cancel_waking(connection, run_id, reason=reason, grace=self.policy.cancel_grace, now=now)
        if woken:
            self.database.after_commit(connection, self._wake, *woken)
        return woken is not None

    def skip(
        self, connection: Connection, operation: Operation, parameters: dict[str, Any], origin: Origin, reason: str
    ) -> Opened:
        """Write down a run that is not to start."""
        run_id = uuid.uuid4().hex
        place = Place(RunState.SKIPPED, reason=reason)
        self._insert(connection, run_id, _New(operation, parameters, origin), place)
        return Opened(run_id, RunState.SKIPPED)

    def seen(self, connection: Connection, firing_key: str) -> Opened | None:
        """The run that this firing started before; when its split is not at its end, somebody is asked to go on."""
        run = run_rows.find_run_of_firing(connection, firing_key)
        if run is None:
            return None
        if run.state is RunState.SPLITTING:
            self.database.after_commit(connection, self._wake, run.id)
        _log.info("firing seen before", run_id=run.id, job=run.job)
        return Opened(run.id, run.state, new=False)

    def resume(self, run_id: str) -> bool:
        """Go on with the split of a run whose splitter is gone; False when there is nothing to go on with.

        Raises:
            PushRefused: openapi.yaml no longer has the job; or see `start`.
        """
        now = self.clock.now()
        until = int((now + self.policy.split_lease) * 1000)
        with self.database.write() as connection:
            fence = run_rows.lease_split(connection, run_id, now=int(now * 1000), until=until)
            run = run_rows.find_run(connection, run_id)
        if fence is None or run is None:
            return False
        operation = self.pusher.contract.by_id.get(run.job)
        if operation is None or operation.job is None:
            reason = f"openapi.yaml no longer has the job {run.job}."
            self._wake(*Split(self.pusher, self.policy, run_id, fence, until=now).fail(reason))
            raise PushRefused(reason)
        _log.info("split goes on", run_id=run_id, fence=fence)
        self._split(operation, run_id, json.loads(run.parameters), fence=fence, failures=run.failures)
        return True

    def start_stranded(self) -> int:
        """Start queued runs that no end of another will start; how many."""
        started = 0
        with self.database.read() as connection:
            scopes = overlap_rows.stranded_scopes(connection, limit=100)
        for scope in scopes:
            with suppress(IntegrityError), self.database.write() as connection:
                now = int(self.clock.now() * 1000)
                place = overlap_rows.place_in(scope, 1)
                started += run_rows.start_next_queued(connection, scope, overlap_key=place, now=now) is not None
        return started

    def answer(self, run_id: str) -> RunAnswer:
        """How a run stands."""
        with self.database.read() as connection:
            run = run_rows.find_run(connection, run_id)
            steps = step_rows.list_steps(connection, run_id)
        assert run is not None
        return RunAnswer(
            run_id,
            run.state,
            sum(step.batches for step in steps),
            sum(step.item_count for step in steps),
            run.reason,
        )

    def _open(self, connection: Connection, new: _New, tries: int = _TRIES) -> Opened:
        key = new.origin.firing_key
        if key is not None and (opened := self.seen(connection, key)):
            return opened
        try:
            with connection.begin_nested():
                return self._begin(connection, new)
        except IntegrityError:
            # Another start of the same firing or in the same place committed first: now its row can be seen.
            if tries == 1:
                raise
        return self._open(connection, new, tries - 1)

    def _begin(self, connection: Connection, new: _New) -> Opened:
        run_id = uuid.uuid4().hex
        place = find_place(
            connection,
            new.operation,
            new.parameters,
            run_id=run_id,
            waits=new.waits,
            max_queued=self.policy.max_queued,
            now=int(self.clock.now() * 1000),
        )
        self._insert(connection, run_id, new, place)
        if place.state is RunState.SPLITTING and new.lease <= 0:
            self.database.after_commit(connection, self._wake, run_id)
        return Opened(run_id, place.state)

    def _insert(self, connection: Connection, run_id: str, new: _New, place: Place) -> None:
        now = self.clock.now()
        run_rows.insert_run(
            connection,
            run_id=run_id,
            job=new.operation.operation_id,
            parameters=json.dumps(new.parameters),
            state=place.state,
            reason=place.reason,
            firing_key=new.origin.firing_key,
            overlap_key=place.key,
            overlap_scope=place.scope,
            lease_until=int((now + new.lease) * 1000) if place.state is RunState.SPLITTING else None,
            parent=parent(),
            object=new.object or object_of(new.operation, new.parameters),
            schedule=new.origin.schedule,
            scheduled_at=new.origin.scheduled_at,
            trace=traces.current(),
            now=int(now * 1000),
        )
        if place.state is RunState.SKIPPED:
            _log.warning("run skipped", run_id=run_id, job=new.operation.operation_id, reason=place.reason)

    def _split(
        self, operation: Operation, run_id: str, parameters: dict[str, Any], *, fence: int, failures: int
    ) -> None:
        assert operation.job is not None
        now = self.clock.now()
        split = Split(self.pusher, self.policy, run_id, fence, until=now + operation.job.time_limit)
        try:
            with suppress(StepsPending):
                operation.function(Job(run_id, now, parameters, split), **parameters)
            self._wake(*split.finish())
        except OutOfTime:
            split.release()
            self.go_on(run_id)
        except LostLease:
            raise
        except Exception as error:
            # A boundary: whatever the job's own code raised is the run's reason, and goes on to the caller.
            if isinstance(error, _PASSING) and failures + 1 < self.policy.max_splitters:
                split.stumble()
            else:
                self._wake(*split.fail(f"{type(error).__name__}: {error}"))
            raise

    def _wake(self, *run_ids: str) -> None:
        for run_id in dict.fromkeys(run_ids):
            self.go_on(run_id)

    @property
    def database(self) -> Database:
        """Where runs are written."""
        return self.pusher.database

    @property
    def clock(self) -> Clock:
        """What tells the time."""
        return self.pusher.clock
