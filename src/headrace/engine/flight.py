"""Tasks under way: their pushes, from the start of the first until the outcome is durable."""

from headrace.engine.lane import Lane
from headrace.engine.store.interface import Record
from headrace.engine.target import Prepared


class Flight:
    """A task under way: from the start of a push until the outcome of its pushes is durable.

    There may be several at once, for RunTask starts one whatever goes on; `pushes` counts those that have not
    ended, `started_at` and `dispatched_at` are when the first and the last began. `record` is the task as the
    pushes that failed have left it. `over`: one of them ended the task. `dead`: the task was deleted meanwhile.
    """

    __slots__ = ("dead", "dispatched_at", "lane", "over", "pushes", "record", "started_at")

    def __init__(self, lane: Lane, record: Record, started_at: float) -> None:
        self.lane = lane
        self.record = record
        self.started_at = self.dispatched_at = started_at
        self.pushes = 0
        self.over = False
        self.dead = False


class Delivery:
    """One push. `record` is the task as it was pushed, `begun_at` the loop's time; no request made: not prepared."""

    __slots__ = ("begun_at", "dispatched_at", "flight", "forced", "prepared", "record")

    def __init__(self, flight: Flight, record: Record, dispatched_at: float, begun_at: float, forced: bool) -> None:
        self.flight = flight
        self.record = record
        self.dispatched_at = dispatched_at
        self.begun_at = begun_at
        self.forced = forced
        self.prepared: Prepared | None = None
