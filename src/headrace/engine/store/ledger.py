"""What the SQLite store knows without asking its tables: counters, purge marks, and the chores that are left.

Counters change in memory while a transaction runs, are written once at its end, and count once it is durable.
"""

import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial

_SLICE = 1000

Chore = Callable[[sqlite3.Connection], bool]


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
        self._reread = False
        self._expiring = False
        self._chores: deque[Chore] = deque()

    def load(self, connection: sqlite3.Connection) -> None:
        """Read all counters and marks, as at the start."""
        rows = connection.execute("SELECT id, pending, purged_id FROM queue WHERE name IS NOT NULL").fetchall()
        self._pending = {queue: pending for queue, pending, _ in rows}
        self._purged = {queue: purged for queue, _, purged in rows}
        (self._remembered,) = connection.execute("SELECT value FROM meta WHERE key = 'remembered'").fetchone()
        for (queue,) in connection.execute("SELECT id FROM queue WHERE purging = 1"):
            if queue not in self._purging:
                self._purging.add(queue)
                self._chores.append(partial(self._purge, queue))

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

    def add(self, queue: int, tasks: int) -> None:
        """Stage a change of a queue's count of tasks."""
        self._added[queue] = self._added.get(queue, 0) + tasks

    def remember(self, names: int) -> None:
        """Stage a change of the count of names that are kept for finished tasks."""
        self._added_names += names

    def purged_up_to(self, queue: int) -> int:
        """The highest id that a dead task of the queue can have."""
        return self._purged.get(queue, 0)

    def bury(self, queue: int, up_to: int | None) -> None:
        """Stage the death of all tasks up to an id; None: the queue itself is gone."""
        self._added.pop(queue, None)
        if up_to is None:
            self._purged.pop(queue, None)
        else:
            self._purged[queue] = up_to
        self._reread = True

    def queues_changed(self) -> None:
        """Stage a reading of the queues once the transaction is durable."""
        self._reread = True

    def seal(self, connection: sqlite3.Connection) -> None:
        changes = [(tasks, queue) for queue, tasks in self._added.items() if tasks]
        connection.executemany("UPDATE queue SET pending = pending + ? WHERE id = ?", changes)
        if self._added_names:
            connection.execute("UPDATE meta SET value = value + ? WHERE key = 'remembered'", (self._added_names,))

    def sealed(self, connection: sqlite3.Connection) -> None:
        if self._reread:
            self.load(connection)
        else:
            for queue, tasks in self._added.items():
                self._pending[queue] += tasks
            self._remembered += self._added_names
        self._forget_staged()

    def undone(self, connection: sqlite3.Connection) -> None:
        self._forget_staged()
        self.load(connection)

    def _forget_staged(self) -> None:
        self._added.clear()
        self._added_names = 0
        self._reread = False

    def expire(self, now: float) -> None:
        """Queue the chores that forget names and remove tasks whose time is over; nothing while they still run."""
        if not self._expiring:
            self._expiring = True
            self._chores.append(partial(self._forget_names, now))

    @property
    def has_chores(self) -> bool:
        return bool(self._chores)

    def do_chore(self, connection: sqlite3.Connection) -> None:
        chore = self._chores[0]
        if chore(connection):
            self._chores.rotate(-1)
        else:
            self._chores.remove(chore)

    # Chores: each does one slice and says whether there is more.

    def _purge(self, queue: int, connection: sqlite3.Connection) -> bool:
        name, up_to, forget_at = connection.execute(
            "SELECT name, purged_id, purged_at + name_memory FROM queue WHERE id = ?", (queue,)
        ).fetchone()
        if self._remove_tasks(connection, queue, up_to, forget_at):
            return True
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
                return True
            connection.execute("DELETE FROM queue WHERE id = ?", (queue,))
        connection.execute("UPDATE queue SET purging = 0 WHERE id = ?", (queue,))
        self._purging.discard(queue)
        return False

    def _forget_names(self, now: float, connection: sqlite3.Connection) -> bool:
        over = self._remembered - self._remembered_limit
        rows = connection.execute(
            "SELECT queue, name FROM name INDEXED BY name_forget WHERE forget_at <= ? ORDER BY forget_at LIMIT ?",
            (now if over <= 0 else float("inf"), _SLICE if over <= 0 else min(over, _SLICE)),
        ).fetchall()
        connection.executemany("DELETE FROM name WHERE queue = ? AND name = ?", rows)
        self.remember(-len(rows))
        if rows:
            return True
        queues = connection.execute(
            "SELECT id, (? - task_ttl) * 1e6, ? + name_memory FROM queue WHERE name IS NOT NULL", (now, now)
        ).fetchall()
        self._chores.append(partial(self._remove_old, queues))
        return False

    def _remove_old(self, queues: list[tuple[int, float, float]], connection: sqlite3.Connection) -> bool:
        while queues:
            queue, up_to, forget_at = queues[-1]
            removed = 0
            if queue not in self._purging:
                removed = self._remove_tasks(connection, queue, int(up_to), forget_at)
            if removed:
                self.add(queue, -removed)
                return True
            queues.pop()
        self._expiring = False
        return False

    def _remove_tasks(self, connection: sqlite3.Connection, queue: int, up_to: int, forget_at: float) -> int:
        """Remove a slice of the queue's tasks with an id up to `up_to`; returns how many."""
        rows = connection.execute(
            "SELECT id, name FROM task WHERE id IN"
            " (SELECT id FROM task INDEXED BY task_queue WHERE queue = ? AND id <= ? LIMIT ?)",
            (queue, up_to, _SLICE),
        ).fetchall()
        connection.executemany("DELETE FROM task WHERE id = ?", [(task,) for task, _ in rows])
        named = [(forget_at, queue, name) for _, name in rows if name is not None]
        self.remember(
            connection.executemany("UPDATE name SET forget_at = ? WHERE queue = ? AND name = ?", named).rowcount
            if named
            else 0
        )
        return len(rows)
