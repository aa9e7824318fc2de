"""What a new run does when others of its job are under way: it begins, waits, takes their place, or is skipped."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from headrace.contract.operations import Operation, Overlap
from headrace.database import key_rows, overlap_rows, run_rows
from headrace.database.overlap_rows import place_in
from headrace.database.states import RunState
from headrace.runs.cancelling import cancel

_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Place:
    """How a new run starts: `splitting`, `queued`, or `skipped` for a reason.

    `key` keeps other runs out while this one lives. `scope` names those that may stand in one another's way.
    """

    state: RunState
    key: str | None = None
    scope: str | None = None
    reason: str = ""


def find_place(
    connection: Connection,
    operation: Operation,
    parameters: Mapping[str, Any],
    *,
    run_id: str,
    waits: bool,
    max_queued: int,
    now: int,
) -> Place:
    """The place of a new run, by its job's overlap policy; a run that it replaces is cancelled here.

    Runs of one scope find theirs one after the other. `waits`: it is to run in any case, so it queues where its
    policy would skip or replace. `now` is in epoch milliseconds. The key may still be taken by a transaction that
    has not committed: then the insert of the run fails, and its place is to be found again.
    """
    assert operation.job is not None
    policy, limit = operation.job.overlap, operation.job.overlap_limit
    if policy is Overlap.ALLOW and limit is None:
        return Place(RunState.SPLITTING)
    scope = scope_of(operation, parameters)
    key_rows.lock_key(connection, f"overlap/{scope}")
    if policy is Overlap.ALLOW and limit is not None:
        return _find_free(connection, scope, limit)
    if policy is Overlap.QUEUE or waits:
        return _find_in_line(connection, scope, max_queued)
    live = run_rows.find_live_run(connection, place_in(scope, 1))
    if live is not None and policy is Overlap.SKIP:
        return Place(RunState.SKIPPED, reason=f"Run {live} of this job has not ended (overlap: skip).")
    if live is not None:
        reason = f"Run {run_id} of this job takes its place (overlap: replace)."
        cancel(connection, live, reason=reason, grace=0, now=now)
    return Place(RunState.SPLITTING, place_in(scope, 1), scope)


def scope_of(operation: Operation, parameters: Mapping[str, Any]) -> str:
    """The job, with the values of its overlap-key parameters."""
    assert operation.job is not None
    values = [parameters.get(name) for name in operation.job.overlap_key]
    if not values:
        return operation.operation_id
    text = json.dumps(values)
    # An index entry has a limit; a parameter need not have one.
    return operation.operation_id + (text if len(text) <= _LONGEST else hashlib.sha256(text.encode()).hexdigest())


def _find_free(connection: Connection, scope: str, limit: int) -> Place:
    places = [place_in(scope, number) for number in range(1, limit + 1)]
    taken = overlap_rows.taken_places(connection, places)
    free = next((place for place in places if place not in taken), None)
    if free is None:
        return Place(RunState.SKIPPED, reason=f"{limit} runs of this job have not ended (overlap-limit: {limit}).")
    return Place(RunState.SPLITTING, free, scope)


def _find_in_line(connection: Connection, scope: str, max_queued: int) -> Place:
    # The holder's end starts the next in line: it must not end between this look and the new run's commit.
    if overlap_rows.lock_holder(connection, place_in(scope, 1)) is None:
        return Place(RunState.SPLITTING, place_in(scope, 1), scope)
    if overlap_rows.count_queued(connection, scope, at_most=max_queued) >= max_queued:
        return Place(RunState.SKIPPED, reason=f"{max_queued} runs of this job wait already (overlap: queue).")
    return Place(RunState.QUEUED, scope=scope)
