"""Batches whose attempt died amid something that must not happen twice: a person says what becomes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.database import Database, audit_rows, batch_rows, dead_rows, effect_rows, step_rows
from headrace.database.batch_rows import BatchRow, Narrowing
from headrace.database.states import BatchState, ItemState
from headrace.errors import WrongState
from headrace.execution.ending import tally
from headrace.operators.batch_details import find, moved, show_effect, summary_of
from headrace.runs.fanin import end_if_complete
from headrace.runs.relay import Relay


class Decision(StrEnum):
    """What a person says of a batch.

    resume: what is in doubt has happened, and the batch goes on; with nothing in doubt, all of it has. redo: it has
    not, and what is left is done again. skip: the batch is cancelled.
    """

    RESUME = "resume"
    REDO = "redo"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Decisions:
    """Each decision writes who made it, in its own transaction. `go_on` asks that a run be gone on with soon."""

    database: Database
    clock: Clock
    relay: Relay
    go_on: Callable[[str], None]

    def list(self, *, limit: int) -> Sequence[dict[str, Any]]:
        """Batches that wait for a decision, the newest first, with the payload and the effects of each."""
        with self.database.read() as connection:
            found = batch_rows.list_batches(connection, state=BatchState.UNDECIDED, limit=limit)
            effects = effect_rows.effects_of(connection, [batch.id for batch in found])
        return [
            {
                **summary_of(batch),
                "payload": orjson.loads(batch.payload),
                "effects": [show_effect(effect) for effect in effects[batch.id]],
            }
            for batch in found
        ]

    def decide(self, batch_id: int, decision: Decision, *, actor: str) -> None:
        """Do with a batch what a person decided.

        Raises:
            NotFound: there is no such batch.
            WrongState: it waits for no decision.
        """
        now = int(self.clock.now() * 1000)
        with self.database.write() as connection:
            batch = find(connection, batch_id)
            if batch.state is not BatchState.UNDECIDED:
                raise WrongState(f"Batch {batch_id} is {batch.state.value}, and waits for no decision.")
            in_doubt = [each.key for each in effect_rows.list_effects(connection, batch_id) if each.in_doubt]
            if decision is Decision.SKIP:
                self.end(connection, batch, BatchState.CANCELLED, now)
            elif decision is Decision.RESUME and not in_doubt:
                self.end(connection, replace(batch, outcomes=_all_done(batch.outcomes), error=""), BatchState.DONE, now)
            else:
                effect_rows.settle_effects(connection, batch_id, done=decision is Decision.RESUME, now=now)
                self._revive(connection, batch)
            audit_rows.record(
                connection,
                at=now,
                actor=actor,
                action=f"decide_{decision.value}",
                object=f"batch/{batch_id}",
                old=f"in doubt: {', '.join(in_doubt)}" if in_doubt else batch.error,
            )

    def _revive(self, connection: Connection, batch: BatchRow) -> None:
        if not dead_rows.revive_batch(connection, batch):
            raise moved(batch)
        self.database.after_commit(connection, partial(self.relay.push_soon, Narrowing(batch_id=batch.id)))

    def end(self, connection: Connection, batch: BatchRow, state: BatchState, now: int) -> None:
        """End a batch that no attempt holds as done or cancelled, and what it is the last of.

        Raises WrongState where it moved on meanwhile. `now` is in epoch milliseconds.
        """
        if not dead_rows.end_batch(connection, batch, state=state, now=now):
            raise moved(batch)
        items_done, items_failed = tally(state, batch.outcomes, batch.item_count)
        is_last = step_rows.count_batch(
            connection,
            batch.step_id,
            done=int(state is BatchState.DONE),
            cancelled=int(state is BatchState.CANCELLED),
            items_done=items_done,
            items_failed=items_failed,
        )
        for run_id in end_if_complete(connection, batch.step_id, now=now) if is_last else ():
            self.database.after_commit(connection, partial(self.go_on, run_id))
        if batch.order_key is not None:
            behind = Narrowing(order_key=batch.order_key)
            self.database.after_commit(connection, partial(self.relay.push_soon, behind))
        if batch.queue is not None:
            self.database.after_commit(connection, partial(self.relay.push_queues, batch.queue))


def _all_done(outcomes: str | None) -> str | None:
    """The letters of a batch that is done: what had failed for good has all the same. Pure."""
    if outcomes is None:
        return None
    return "".join(letter if letter == ItemState.FAILED else ItemState.DONE for letter in outcomes)
