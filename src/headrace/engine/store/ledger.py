"""What the SQLite store knows without asking its tables: counters, purge marks, and the chores that are left.

All is read once, at the start. Changes are staged while a transaction runs and count once it is durable; the
counters are written at its end.
"""

import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial

_SLICE = 1000

Ended = Callable[[], None]
Chore = Callable[[sqlite3.Connection], Ended | None]
"""Does one slice. None: more is left; else what to do once the slice, the last one, is durable."""


class Ledger:
    """The Book of the store's Committer. `pending` may be read from any thread; the rest is the writer's."""

    def __init__(self, *, remembered_limit: int) -> None:
        self._remembered_limit = remembered_limit
        self._pending: dict[int, int] = {}
        self._purged: dict[int, int] = {}
        self._purging: set[int] = set()
        self._remembered = 0
        self._added: dict[int, int] = {}
        self._added_names = 0
        # The marks of queues that the transaction changed, as they were before; None: there was no such queue.
        self._before: dict[int, int | None] = {}
        self._buried: list[int] = []
        self._expiring = False
        self._chores: deque[Chore] = deque()
        self._then: Ended = _nothing

    def load(self, connection: sqlite3.Connection) -> None:
        """Read all counters and marks, at the start."""
        rows = connection.execute("SELECT id, pending, purged_id FROM queue WHERE name IS NOT NULL").fetchall()
        self._pending = {queue: pending for queue, pending, _ in rows}
        self._purged = {queue: purged for queue, _, purged in rows}
        (self._remembered,) = connection.execute("SELECT value FROM meta WHERE key = 'remembered'").fetchone()
        for (queue,) in connection.execute("SELECT id FROM queue WHERE purging = 1"):
            self._begin_purge(queue)

    def pending(self, queue: int) -> int:
        """How many live tasks the queue has on disk."""
        return self._pending.get(queue, 0)

    def knows(self, queue: int) -> bool:
        """Whether the queue exists, seen from inside the transaction."""
        return queue in self._purged

    def is_purging(self, queue: int) -> bool:
        """Whether dead tasks of the queue may still be stored."""
        return queue in self._purging

    def is_live(self, queue: int, task: int) -> bool:
        """Whether a stored task is alive: its queue exists and was not purged since."""
        return task > self._purged.get(queue, task)

    def purged_up_to(self, queue: int) -> int:
        """The highest id that a dead task of the queue can have."""
        return self._purged.get(queue, 0)

    def add(self, queue: int, tasks: int) -> None:
        """Stage a change of a queue's count of tasks."""
        self._added[queue] = self._added.get(queue, 0) + tasks

    def remember(self, names: int) -> None:
        """Stage a change of the count of names that are kept for finished tasks."""
        self._added_names += names

    def admit(self, queue: int, purged_up_to: int) -> None:
        """Stage that the queue exists."""
        self._mark(queue, purged_up_to)

    def bury(self, queue: int, up_to: int | None) -> None:
        """Stage the death of all tasks up to an id; None: the queue itself is gone."""
        self._added.pop(queue, None)
        self._buried.append(queue)
        self._mark(queue, up_to)

    def _mark(self, queue: int, up_to: int | None) -> None:
        self._before.setdefault(queue, self._purged.get(queue))
        _put(self._purged, queue, up_to)

    def seal(self, connection: sqlite3.Connection) -> None:
        changes = [(tasks, queue) for queue, tasks in self._added.items() if tasks]
        connection.executemany("UPDATE queue SET pending = pending + ? WHERE id = ?", changes)
        if self._added_names:
            connection.execute("UPDATE meta SET value = value + ? WHERE key = 'remembered'", (self._added_names,))

    def sealed(self) -> None:
        for queue in self._buried:
            self._pending.pop(queue, None)
            self._begin_purge(queue)
        for queue, tasks in self._added.items():
            self._pending[queue] = self._pending.get(queue, 0) + tasks
        self._remembered += self._added_names
        self._then()
        self._forget_staged()

    def undone(self) -> None:
        for queue, purged_up_to in self._before.items():
            _put(self._purged, queue, purged_up_to)
        self._forget_staged()

    def _forget_staged(self) -> None:
        self._added.clear()
        self._added_names = 0
        self._before.clear()
        self._buried.clear()
        self._then = _nothing

    def expire(self, now: float) -> None:
        """Queue the chores that forget names and remove tasks whose time is over; nothing while they still run."""
        if not self._expiring:
            self._expiring = True
            self._chores.append(partial(self._forget_names, now))

    @property
    def has_chores(self) -> bool:
        return bool(self._chores)

    def do_chore(self, connection: sqlite3.Connection) -> None:
        ended = self._chores[0](connection)
        self._then = partial(self._chores.rotate, -1) if ended is None else partial(self._end_chore, ended)

    def _end_chore(self, ended: Ended) -> None:
        self._chores.popleft()
        ended()

    def _begin_purge(self, queue: int) -> None:
        if queue not in self._purging:
            self._purging.add(queue)
            self._chores.append(partial(self._purge, queue))

    # Chores.

    def _purge(self, queue: int, connection: sqlite3.Connection) -> Ended | None:
        name, up_to, forget_at = connection.execute(
            "SELECT name, purged_id, purged_at + name_memory FROM queue WHERE id = ?", (queue,)
        ).fetchone()
        if self._remove_tasks(connection, queue, up_to, forget_at):
            return None
        if name is None:
            names = connection.execute("SELECT name FROM name WHERE queue = ? LIMIT ?", (queue, _SLICE)).fetchall()
            kept = 0
            for (taken,) in names:
                row = connection.execute(
                    "DELETE FROM name WHERE queue = ? AND name = ? RETURNING forget_at", (queue, taken)
                ).fetchone()
                kept += row[0] is not None
            self.remember(-kept)
            if names:
                return None
            connection.execute("DELETE FROM queue WHERE id = ?", (queue,))
        connection.execute("UPDATE queue SET purging = 0 WHERE id = ?", (queue,))
        return partial(self._purging.discard, queue)

    def _forget_names(self, now: float, connection: sqlite3.Connection) -> Ended | None:
        over = self._remembered - self._remembered_limit
        rows = connection.execute(
            "SELECT queue, name FROM name INDEXED BY name_forget WHERE forget_at <= ? ORDER BY forget_at LIMIT ?",
            (now if over <= 0 else float("inf"), _SLICE if over <= 0 else min(over, _SLICE)),
        ).fetchall()
        connection.executemany("DELETE FROM name WHERE queue = ? AND name = ?", rows)
        self.remember(-len(rows))
        if rows:
            return None
        queues = connection.execute(
            "SELECT id, (? - task_ttl) * 1e6, ? + name_memory FROM queue WHERE name IS NOT NULL", (now, now)
        ).fetchall()
        return partial(self._chores.append, partial(self._remove_old, queues))

    def _remove_old(self, queues: list[tuple[int, float, float]], connection: sqlite3.Connection) -> Ended | None:
        while queues:
            queue, up_to, forget_at = queues[-1]
            removed = 0
            if queue not in self._purging:
                removed = self._remove_tasks(connection, queue, int(up_to), forget_at)
            if removed:
                self.add(queue, -removed)
                return None
            queues.pop()
        return self._expired

    def _expired(self) -> None:
        self._expiring = False

    def _remove_tasks(self, connection: sqlite3.Connection, queue: int, up_to: int, forget_at: float) -> int:
        """Remove a slice of the queue's tasks with an id up to `up_to`; returns how many."""
        rows = connection.execute(
            "SELECT id, name FROM task WHERE id IN"
            " (SELECT id FROM task INDEXED BY task_queue WHERE queue = ? AND id <= ? LIMIT ?)",
            (queue, up_to, _SLICE),
        ).fetchall()
        connection.executemany("DELETE FROM task WHERE id = ?", [(task,) for task, _ in rows])
        named = [(forget_at, queue, name) for _, name in rows if name is not None]
        if named:
            # One whose task was finished after the purge is kept, and counted, already.
            keep = "UPDATE name SET forget_at = ? WHERE queue = ? AND name = ? AND forget_at IS NULL"
            self.remember(connection.executemany(keep, named).rowcount)
        return len(rows)


def _nothing() -> None:
    """What follows a transaction that was no chore's."""


def _put(marks: dict[int, int], queue: int, mark: int | None) -> None:
    if mark is None:
        marks.pop(queue, None)
    else:
        marks[queue] = mark
