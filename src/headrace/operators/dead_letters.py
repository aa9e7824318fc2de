"""Dead batches: seen, tried again, given another payload, given up."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection

from headrace.contract.operations import Contract
from headrace.database import Database, audit_rows, batch_rows, dead_rows, item_rows, run_rows, step_rows
from headrace.database.batch_rows import BatchRow
from headrace.database.states import BatchState, ItemState, RunState
from headrace.errors import BadRequest, NotFound, PushRefused, WrongState
from headrace.operators.batch_details import find, moved, summary_of
from headrace.runs.payloads import encode_one
from headrace.runs.pushing import Pusher

_PAGE = 500
_CANCELLED = (RunState.CANCELLING, RunState.CANCELLED)
_Act = Callable[[Connection, Sequence[BatchRow], str], None]


@dataclass(frozen=True, slots=True)
class Matching:
    """What dead batches have in common; None is anything. `handler` is an operationId."""

    handler: str | None = None
    cause: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Each change writes who made it, in its own transaction.

    A batch that is tried again is the next generation of itself: its items that are done stay done, the rest are left,
    its tries begin at 0, and its step and run are live again, with the steps that were left out because of it.
    """

    pusher: Pusher

    def list(self, matching: Matching, *, limit: int) -> Sequence[dict[str, Any]]:
        """Dead batches, the newest first."""
        with self._database.read() as connection:
            found = batch_rows.list_batches(connection, state=BatchState.DEAD, limit=limit, **asdict(matching))
        return [summary_of(batch) for batch in found]

    def retry(self, batch_id: int, *, actor: str) -> None:
        """Try one again.

        Raises:
            NotFound: there is no such batch.
            WrongState: it is not dead, or its run was cancelled.
        """
        self._change_one(batch_id, self._retry, actor)

    def edit(self, batch_id: int, payload: Any, *, actor: str) -> None:
        """Give one another payload, and try it again. Items that are done and did not change stay done.

        Effects stay as they are too: one that is done is not made again, also where its item changed.

        Raises:
            BadRequest: the payload breaks the schema of the batch's handler, or is larger than a payload may be; with
                the JSON pointer.
            NotFound, WrongState: see `retry`.
        """
        self._change_one(batch_id, partial(self._edit, payload), actor)

    def discard(self, batch_id: int, *, actor: str) -> None:
        """Give one up: it is cancelled.

        Raises:
            NotFound: there is no such batch.
            WrongState: it is not dead.
        """
        self._change_one(batch_id, self._discard, actor)

    def retry_all(self, matching: Matching, *, actor: str) -> int:
        """Try all that match again, but those of cancelled runs; how many."""
        return self._change_all(matching, self._retry, actor, spared=_CANCELLED)

    def discard_all(self, matching: Matching, *, actor: str) -> int:
        """Give up all that match; how many."""
        return self._change_all(matching, self._discard, actor)

    def retry_run(self, run_id: str, *, actor: str) -> int:
        """Try all dead batches of a run again; how many.

        Raises:
            NotFound: there is no such run.
            WrongState: it has no dead batch, or was cancelled.
        """
        with self._database.read() as connection:
            if run_rows.state_of(connection, run_id) is None:
                raise NotFound(f"There is no run {run_id}.", hint="GET /api/v1/runs lists them.")
        count = self.retry_all(Matching(run_id=run_id), actor=actor)
        if count == 0:
            raise WrongState(f"Run {run_id} has no dead batch that could be tried again.")
        return count

    def _change_one(self, batch_id: int, act: _Act, actor: str) -> None:
        with self._database.write() as connection:
            batch = find(connection, batch_id)
            if batch.state is not BatchState.DEAD:
                raise WrongState(f"Batch {batch_id} is {batch.state.value}, not dead.")
            act(connection, [batch], actor)

    def _change_all(self, matching: Matching, act: _Act, actor: str, *, spared: Sequence[RunState] = ()) -> int:
        """Page by page, from the newest: what dies again meanwhile stays dead."""
        changed, before = 0, None
        while True:
            with self._database.write() as connection:
                page = batch_rows.list_batches(
                    connection, state=BatchState.DEAD, limit=_PAGE, before=before, **asdict(matching)
                )
                runs = {batch.run_id for batch in page}
                not_these = {run_id for run_id in runs if run_rows.state_of(connection, run_id) in spared}
                some = [batch for batch in reversed(page) if batch.run_id not in not_these]
                act(connection, some, actor)
            changed += len(some)
            if len(page) < _PAGE:
                return changed
            before = page[-1].id

    def _retry(self, connection: Connection, dead: Sequence[BatchRow], actor: str) -> None:
        for batch in dead:
            _revive(connection, replace(batch, outcomes=left(batch.outcomes)))
            self._record(connection, batch, "retry_dead", actor)
        self._reopen(connection, dead)

    def _edit(self, payload: Any, connection: Connection, dead: Sequence[BatchRow], actor: str) -> None:
        for batch in dead:
            edited = self._with_payload(batch, payload)
            _revive(connection, edited)
            self._record(connection, batch, "edit_dead", actor, old=batch.payload, new=edited.payload)
        self._reopen(connection, dead)

    def _discard(self, connection: Connection, dead: Sequence[BatchRow], actor: str) -> None:
        now = self._now()
        for batch in dead:
            if not dead_rows.end_batch(connection, batch, state=BatchState.CANCELLED, now=now):
                raise moved(batch)
            self._record(connection, batch, "discard_dead", actor)
        for step_id in sorted({batch.step_id for batch in dead}):
            step_rows.count_batch(connection, step_id)
            step_rows.recount_step(connection, step_id)

    def _with_payload(self, batch: BatchRow, payload: Any) -> BatchRow:
        contract: Contract = self.pusher.contract
        operation = contract.by_id.get(batch.handler)
        if operation is None:
            raise WrongState(f"openapi.yaml no longer has {batch.handler}, whose schema the payload must fit.")
        violation = contract.violation(operation, payload)
        if violation is not None:
            pointer = f"/payload{violation.pointer}"
            raise BadRequest(f"{pointer}: {violation.message}.", pointer=pointer)
        try:
            new = self.pusher.batch_of(operation, encode_one(payload, max_body=self.pusher.policy.max_payload))
        except PushRefused as error:
            raise BadRequest(str(error), pointer="/payload") from error
        outcomes = kept(batch.outcomes, orjson.loads(batch.payload), payload)
        return replace(batch, payload=new.payload, item_count=new.items, outcomes=outcomes, order_key=new.order_key)

    def _reopen(self, connection: Connection, revived: Sequence[BatchRow]) -> None:
        step_ids = sorted({batch.step_id for batch in revived})
        for step_id in step_ids:
            step_rows.reopen_step(connection, step_id)
        for run_id in sorted({batch.run_id for batch in revived}):
            run = run_rows.lock_run(connection, run_id)
            if run.state in _CANCELLED:
                raise WrongState(f"Run {run_id} was cancelled.")
            # What made its split fail is not mended by this: nothing more is split, and the run fails again.
            waits = not run.reason and step_rows.reopen_left_out(connection, run_id)
            run_rows.reopen_run(connection, run_id, waits=waits)
        self._database.after_commit(connection, partial(self.pusher.relay.push_steps, *step_ids))

    def _record(
        self, connection: Connection, batch: BatchRow, action: str, actor: str, *, old: str = "", new: str | None = None
    ) -> None:
        audit_rows.record(
            connection,
            at=self._now(),
            actor=actor,
            action=action,
            object=f"batch/{batch.id}",
            old=old or f"{batch.cause}: {batch.error}",
            new=new,
        )

    @property
    def _database(self) -> Database:
        return self.pusher.database

    def _now(self) -> int:
        return int(self.pusher.clock.now() * 1000)


def left(outcomes: str | None) -> str | None:
    """The letters of a batch whose items are all tried again, but those that are done. Pure."""
    if outcomes is None:
        return None
    return "".join(letter if letter == ItemState.DONE else ItemState.LEFT for letter in outcomes)


def kept(outcomes: str | None, old: Any, new: Any) -> str | None:
    """The letters of a batch with a new payload: done is what was done and did not change. Pure."""
    if outcomes is None or not isinstance(old, list) or not isinstance(new, list):
        return None
    letters = [
        letter if letter == ItemState.DONE and before == after else ItemState.LEFT
        for letter, before, after in zip(outcomes, old, new, strict=False)
    ]
    return "".join(letters).ljust(len(new), ItemState.LEFT)


def _revive(connection: Connection, batch: BatchRow) -> None:
    if not dead_rows.revive_batch(connection, batch):
        raise moved(batch)
    item_rows.forget_trouble(connection, batch.id)
