"""The list of tasks: batches in any state, narrowed; and what is done to one that waits, or to several."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.clock import Clock
from headrace.contract.operations import Contract
from headrace.database import Database, audit_rows, task_rows
from headrace.database.states import BatchState, DisplayState
from headrace.database.task_rows import TaskRow, Wanted
from headrace.errors import RequestError, WrongState
from headrace.operators.batch_details import find, summary_of
from headrace.operators.dead_letters import DeadLetters
from headrace.operators.decisions import Decisions

MOST_AT_ONCE = 1_000
_BEGINNING = re.compile(r"[0-9a-f]{4,32}")
_WHY_NOT = {
    BatchState.RUNNING: "it is being executed: cancel its run, which gives it a few seconds",
    BatchState.UNDECIDED: "it waits for a decision: skip it",
    BatchState.DEAD: "discard it",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of tasks is narrowed to; None is anything.

    `query` is the number of a task, an id of a run or its beginning, or what a run is about. `standalone`: tasks that
    were pushed by themselves, or all others. `before`: those below this number.
    """

    state: DisplayState | None = None
    handler: str | None = None
    queue: str | None = None
    run_id: str | None = None
    object: str | None = None
    query: str | None = None
    standalone: bool | None = None
    hide_successful: bool = False
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Tasks:
    """Reads and changes tasks. Each change writes who made it, in its own transaction."""

    database: Database
    clock: Clock
    contract: Contract
    dead_letters: DeadLetters
    decisions: Decisions

    def list(self, filters: Filters, *, limit: int) -> dict[str, Any]:
        """Tasks, the newest first; `before` begins the next page, None at the end.

        `looked_at` says after how many tasks the search paused, where that is why the page is not full, else None.
        """
        wanted = wanted_of(filters, self._queues())
        if wanted is None:
            return {"batches": [], "before": None, "looked_at": None}
        with self.database.read() as connection:
            page = task_rows.list_tasks(connection, wanted, limit=limit)
        return {
            "batches": [_shown(task) for task in page.tasks],
            "before": page.before,
            "looked_at": page.looked_at,
        }

    def cancel(self, batch_id: int, *, actor: str) -> None:
        """Cancel one that no attempt has begun: pending, or on its queue, whose delivery then does nothing.

        Raises:
            NotFound: there is no such batch.
            WrongState: it does not wait.
        """
        now = int(self.clock.now() * 1000)
        with self.database.write() as connection:
            batch = find(connection, batch_id)
            if batch.state not in (BatchState.PENDING, BatchState.PUSHED):
                why = _WHY_NOT.get(batch.state, "it has ended")
                raise WrongState(f"Batch {batch_id} is {batch.state.value}, and does not wait: {why}.")
            self.decisions.end(connection, batch, BatchState.CANCELLED, now)
            audit_rows.record(
                connection,
                at=now,
                actor=actor,
                action="cancel_batch",
                object=f"batch/{batch_id}",
                old=batch.state.value,
                new=BatchState.CANCELLED.value,
            )

    def retry_some(self, batch_ids: Sequence[int], *, actor: str) -> dict[str, Any]:
        """Try dead ones again: how many were `changed`, and which were `refused`, each with its reason."""
        return _each(batch_ids, lambda batch_id: self.dead_letters.retry(batch_id, actor=actor))

    def cancel_some(self, batch_ids: Sequence[int], *, actor: str) -> dict[str, Any]:
        """Cancel those that wait; answers as `retry_some`."""
        return _each(batch_ids, lambda batch_id: self.cancel(batch_id, actor=actor))

    def discard_some(self, batch_ids: Sequence[int], *, actor: str) -> dict[str, Any]:
        """Give up dead ones; answers as `retry_some`."""
        return _each(batch_ids, lambda batch_id: self.dead_letters.discard(batch_id, actor=actor))

    def _queues(self) -> dict[str, str]:
        return {each.operation_id: each.task.queue for each in self.contract.operations if each.task is not None}


def wanted_of(filters: Filters, queues: Mapping[str, str]) -> Wanted | None:
    """What to ask the database for; None where nothing can fit. Pure. `queues` names the queue of each handler."""
    found = _found_by(filters.query.strip()) if filters.query and filters.query.strip() else {}
    if found is None:
        return None
    states = set(DisplayState) if filters.state is None else {filters.state}
    if filters.hide_successful:
        states.discard(DisplayState.SUCCESSFUL)
    handlers = None if filters.queue is None else {name for name, queue in queues.items() if queue == filters.queue}
    if filters.handler is not None:
        handlers = {filters.handler} if handlers is None else handlers & {filters.handler}
    contradicts = filters.object is not None and found.get("object", filters.object) != filters.object
    if not states or handlers == set() or contradicts:
        return None
    return Wanted(
        states=None if len(states) == len(DisplayState) else states,
        handlers=handlers,
        run_id=filters.run_id,
        runs=found.get("runs"),
        object=filters.object or found.get("object"),
        batch_id=found.get("batch_id"),
        standalone=filters.standalone,
        before=filters.before,
    )


def _found_by(query: str) -> dict[str, Any] | None:
    """A number is a task; from 4 on, hexadecimal digits begin a run's id; what has a slash is an object.

    What may be both is a task where there is such a one.
    """
    if "/" in query:
        return {"object": query}
    word = query.lower()
    found: dict[str, Any] = {}
    if word.isascii() and word.isdecimal() and len(word) < _DIGITS_OF_A_RUN:
        found["batch_id"] = int(word)
    if _BEGINNING.fullmatch(word):
        found["runs"] = word
    return found or None


_DIGITS_OF_A_RUN = 16


def _shown(task: TaskRow) -> dict[str, Any]:
    return {**summary_of(task), "standalone": task.job == task.handler, "job": task.job, "object": task.object}


def _each(batch_ids: Sequence[int], act: Callable[[int], None]) -> dict[str, Any]:
    refused = []
    wanted = list(dict.fromkeys(batch_ids))
    for batch_id in wanted:
        try:
            act(batch_id)
        except RequestError as error:
            refused.append({"batch_id": batch_id, "reason": str(error)})
    return {"changed": len(wanted) - len(refused), "refused": refused}
