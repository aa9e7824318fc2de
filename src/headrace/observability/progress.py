"""Whether work goes on: health that a service which is alive and has stopped working does not have."""

from dataclasses import dataclass

from headrace.clock import Clock
from headrace.database import Database
from headrace.database.backlog_rows import Movement, read_movement


@dataclass(frozen=True, slots=True)
class DatabaseProgress:
    """Tells a stall by the database alone, so any process can be asked. `stalled_after` is in seconds."""

    database: Database
    clock: Clock
    stalled_after: float

    def __call__(self) -> str | None:
        """See `stall_of`."""
        now = int(self.clock.now() * 1000)
        with self.database.read() as connection:
            movement = read_movement(connection, now=now)
        return stall_of(movement, now=now, stalled_after=self.stalled_after)


def stall_of(movement: Movement, *, now: int, stalled_after: float) -> str | None:
    """Why work has stalled, or None: something is due since `stalled_after` seconds, and nothing moved in them.

    `now` is in epoch milliseconds. Pure.
    """
    if movement.waits_since is None:
        return None
    waited = (now - movement.waits_since) / 1000
    still = waited if movement.moved_at is None else (now - movement.moved_at) / 1000
    if min(waited, still) <= stalled_after:
        return None
    return f"Work that is due has waited for {waited:.0f} s, and no attempt began or ended in the last {still:.0f} s."
