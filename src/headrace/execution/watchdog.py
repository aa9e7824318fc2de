"""Sees to it that attempts keep their time limits, in the process that is at work on them.

A thread cannot be stopped. What can be done is to end its attempt, so that nothing it writes is kept and its batch is
free, and to have the process replaced when it goes on all the same. Where a process has no watchdog, or it cannot
run, leases end and sweeps do the first of the two a little later.
"""

import threading
from collections.abc import Callable

import structlog

from headrace.clock import Clock
from headrace.execution.attempts import BatchExecutor, Held

LOOKS_EVERY = 0.5
"""Seconds."""
_log = structlog.get_logger(__name__)


class Watchdog:
    """Looks at the attempts that a process holds.

    One that is past its time limit is ended as timed out. One that is still in its handler `grace` seconds later is
    stuck: that is logged, once, and the process is to be recycled.
    """

    def __init__(self, executor: BatchExecutor, clock: Clock, *, grace: float) -> None:
        self._executor = executor
        self._clock = clock
        self._grace = grace
        self._overdue: dict[Held, float] = {}
        self._stuck: set[Held] = set()
        self._stopped = threading.Event()

    def start(self, recycle: Callable[[], object] | None = None) -> None:
        """Look from now on, in a thread. `recycle` has this process replaced; None where nobody would start another."""
        threading.Thread(target=self._run, args=(recycle,), name="headrace-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def look(self, recycle: Callable[[], object] | None = None) -> list[threading.Thread]:
        """Look once. What is overdue is ended in the threads that are returned.

        One thread each, because an attempt may be stuck inside a transaction, behind which its end would wait.
        """
        now = self._clock.now()
        overdue = {held: now for held in self._executor.held() if now >= held.deadline}
        threads = [self._time_out(held) for held in overdue if held not in self._overdue]
        self._overdue = {held: self._overdue.get(held, now) for held in overdue}
        stuck = {held for held, since in self._overdue.items() if now - since >= self._grace}
        for held in stuck - self._stuck:
            lease = held.lease
            _log.error(
                "attempt is stuck",
                run_id=lease.run_id,
                batch=lease.number,
                attempt=lease.attempt,
                task=held.delivery.task_name,
                seconds_past_limit=round(now - held.deadline, 1),
            )
        if recycle is not None and stuck - self._stuck:
            recycle()
        self._stuck = stuck
        return threads

    def _time_out(self, held: Held) -> threading.Thread:
        thread = threading.Thread(target=self._end, args=(held,), name="headrace-time-out", daemon=True)
        thread.start()
        return thread

    def _end(self, held: Held) -> None:
        try:
            self._executor.time_out(held)
        except Exception:  # noqa: BLE001 - a boundary: its lease ends all the same, and a sweep sees that
            _log.exception("attempt could not be timed out", run_id=held.lease.run_id, batch=held.lease.number)

    def _run(self, recycle: Callable[[], object] | None) -> None:
        while not self._stopped.wait(LOOKS_EVERY):
            self.look(recycle)
