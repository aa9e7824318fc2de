"""All sweeps behind one name."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from headrace.clock import Clock
from headrace.database import Database, run_rows
from headrace.errors import HeadraceError
from headrace.runs.policy import RunPolicy
from headrace.runs.relay import Relay
from headrace.runs.starting import JobStarter
from headrace.sweeps.purging import Purger
from headrace.sweeps.reaping import Reaper
from headrace.sweeps.reconciling import Reconciler
from headrace.sweeps.scheduling import Scheduling

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sweeps:
    """Each returns counts of what it mended. Any number may run at once, anywhere.

    `alert` tells people what is wrong, until a time in epoch seconds. `keep_limits` puts the limits that were set over
    queue.yaml in force again, where they are not; how many.
    """

    database: Database
    clock: Clock
    policy: RunPolicy
    relay_: Relay
    starter: JobStarter
    reaper: Reaper
    reconciler: Reconciler
    purger: Purger
    scheduling: Scheduling
    alert: Callable[[float], dict[str, int]] = lambda _until: {}
    keep_limits: Callable[[], int] = lambda: 0

    def relay(self) -> dict[str, int]:
        """Push batches that were committed and never reached their queue."""
        return {"pushed": self.relay_.push_pending(until=self._end())}

    def reap(self) -> dict[str, int]:
        """End attempts whose lease ended: the handler died, or lost its way."""
        return {"reaped": self.reaper.reap(self._end())}

    def resume(self) -> dict[str, int]:
        """Go on with splits whose splitter is gone, and with runs that wait for one."""
        resumed = 0
        with self.database.read() as connection:
            abandoned = run_rows.abandoned_splits(connection, now=int(self.clock.now() * 1000), limit=10)
        for run_id in abandoned:
            try:
                resumed += self.starter.resume(run_id)
            except HeadraceError as error:
                _log.error("split could not go on", run_id=run_id, error=str(error))
        return {"resumed": resumed + self.starter.start_stranded()}

    def schedules(self) -> dict[str, int]:
        """Fire what is due and what a scheduler missed, and start what each release starts once."""
        return self.scheduling.sweep(self._end())

    def reconcile(self) -> dict[str, int]:
        """Compare the queues with what should be: a task that vanished is pushed again, or its batch is dead.

        Limits that were set over queue.yaml are put in force again.
        """
        end = self._end()
        counts = self.reconciler.reconcile(end)
        self.relay_.push_pending(until=end)
        return counts | {"limited": self.keep_limits()}

    def purge(self) -> dict[str, int]:
        """Delete what ended longer ago than it is kept, a little at a time, also under load."""
        return self.purger.purge(self._end())

    def alerts(self) -> dict[str, int]:
        """Fire alerts, resolve them, and send both."""
        return self.alert(self._end())

    def sweep(self) -> dict[str, int]:
        """All of them, one after the other: the one endpoint that a scheduler needs to call.

        One that fails holds up no other; its error is raised when all have had their turn.
        """
        counts: dict[str, int] = {}
        failures: list[Exception] = []
        for sweep in (self.relay, self.reap, self.schedules, self.reconcile, self.resume, self.purge, self.alerts):
            try:
                counts |= sweep()
            except Exception as error:  # noqa: BLE001 - raised when all have had their turn
                _log.exception("sweep failed", sweep=sweep.__name__)
                failures.append(error)
        if failures:
            raise failures[0]
        return counts

    def _end(self) -> float:
        return self.clock.now() + self.policy.sweep_time
