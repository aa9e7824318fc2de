"""Metrics for Prometheus: counters of what has ended, gauges of what waits.

Counters are fed with the facts of committed transactions, so they count what the rows say; each process counts its
own, and with several processes (PROMETHEUS_MULTIPROC_DIR is set before this module is imported) the answer adds them
up. Gauges are read from the database when somebody asks.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from headrace.clock import Clock
from headrace.database import Database
from headrace.database.facts import AttemptEnded, BatchesEnded, Fact, Fired, Pushed, RunEnded
from headrace.database.states import Outcome
from headrace.observability.gauges import BacklogCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Upper bounds of the histogram of durations."""
# How long a process was silent says nothing of how long its work takes.
_UNTIMED = frozenset({Outcome.LOST, Outcome.RELEASED})
_log = structlog.get_logger(__name__)


class Metrics:
    """The metrics of one service; an `Observer` of its database. Thread-safe.

    `queues` names the queue of each handler of the contract.
    """

    def __init__(self, queues: Mapping[str, str]) -> None:
        self._queues = queues
        self._registry = registry = CollectorRegistry()
        of_handler = ["handler", "queue"]
        self._attempts = Counter(
            "headrace_attempts", "Attempts that ended.", [*of_handler, "outcome"], registry=registry
        )
        self._retries = Counter(
            "headrace_retries", "Attempts that ended and were not their batch's first.", of_handler, registry=registry
        )
        self._batches = Counter(
            "headrace_batches_ended", "Batches that ended.", [*of_handler, "state"], registry=registry
        )
        self._items = Counter(
            "headrace_items", "Items of batches that ended.", [*of_handler, "outcome"], registry=registry
        )
        self._pushes = Counter(
            "headrace_pushes", "Tasks handed to a queue.", [*of_handler, "outcome"], registry=registry
        )
        self._firings = Counter("headrace_firings", "Firings that came.", ["job"], registry=registry)
        self._runs = Counter("headrace_runs_ended", "Runs that ended.", ["job", "state"], registry=registry)
        self._rejected = Counter(
            "headrace_deliveries_rejected", "Deliveries turned away under load.", registry=registry
        )
        self._seconds = Histogram(
            "headrace_attempt_seconds", "Duration of attempts.", of_handler, buckets=SECONDS, registry=registry
        )
        Gauge("headrace_workers", "Processes.", multiprocess_mode="livesum", registry=registry).set(1)
        self._series: dict[tuple[Any, ...], Any] = {}
        self._tell: dict[type[Fact], Callable[[Any], None]] = {
            AttemptEnded: self._attempt_ended,
            BatchesEnded: self._batches_ended,
            Pushed: self._pushed,
            Fired: lambda fired: self._of(self._firings, fired.job).inc(),
            RunEnded: lambda ended: self._of(self._runs, ended.job, ended.state.value).inc(),
        }

    def __call__(self, facts: Iterable[Fact], /) -> None:
        """Count them."""
        try:
            for fact in facts:
                self._tell[type(fact)](fact)
        except Exception:  # noqa: BLE001 - a boundary: what is told of has been committed, counted or not
            _log.exception("facts were not counted")

    def reject(self) -> None:
        """Count a delivery that was turned away under load."""
        self._rejected.inc()

    def expose(self, database: Database, clock: Clock) -> bytes:
        """All metrics in Prometheus's text format, the application's own among them; asks the database."""
        backlog = BacklogCollector(database, clock, self._queues)
        registries: list[Collector] = [self._registry, REGISTRY, backlog]
        if values.ValueClass is not values.MutexValue:
            processes = CollectorRegistry()
            MultiProcessCollector(processes)  # type: ignore[no-untyped-call]
            registries = [processes, backlog]
        return b"".join(generate_latest(registry) for registry in registries)

    def _attempt_ended(self, ended: AttemptEnded) -> None:
        handler, queue = ended.handler, self._queue_of(ended.handler)
        self._of(self._attempts, handler, queue, ended.outcome.value).inc()
        if ended.again:
            self._of(self._retries, handler, queue).inc()
        if ended.outcome not in _UNTIMED:
            self._of(self._seconds, handler, queue).observe(ended.seconds)

    def _batches_ended(self, ended: BatchesEnded) -> None:
        handler, queue = ended.handler, self._queue_of(ended.handler)
        for state, count in (("done", ended.done), ("dead", ended.dead), ("cancelled", ended.cancelled)):
            if count:
                self._of(self._batches, handler, queue, state).inc(count)
        for outcome, count in (("done", ended.items_done), ("failed", ended.items_failed)):
            if count:
                self._of(self._items, handler, queue, outcome).inc(count)

    def _pushed(self, pushed: Pushed) -> None:
        labels = pushed.handler, self._queue_of(pushed.handler), pushed.outcome
        self._of(self._pushes, *labels).inc(pushed.count)

    def _queue_of(self, handler: str) -> str:
        return self._queues.get(handler, "")

    def _of(self, metric: Any, *labels: str) -> Any:
        """The series with these labels. `labels()` would look at each of them again, under a lock."""
        key = (metric, *labels)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = metric.labels(*labels)
        return found
