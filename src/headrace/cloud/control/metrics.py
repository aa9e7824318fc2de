"""What the queue server tells Prometheus, at GET /metrics: its queues, and what pushes were answered."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from headrace.clock import Clock
from headrace.cloud.fronts.routes import Answer, Call, Route
from headrace.engine.engine import Engine

_QUEUE = ["project", "location", "queue"]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class QueueMetrics(Collector):
    """Gauges and counters of each queue; all stand in memory."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route("GET", "/metrics", self._answer)]

    def collect(self) -> Iterable[Metric]:
        """What stands now."""
        tasks = GaugeMetricFamily("headrace_queue_tasks", "Tasks that are stored.", labels=_QUEUE)
        running = GaugeMetricFamily("headrace_queue_running", "Pushes under way.", labels=_QUEUE)
        lag = GaugeMetricFamily(
            "headrace_queue_due_lag_seconds", "How long the first task in line is due.", labels=_QUEUE
        )
        deliveries = CounterMetricFamily(
            "headrace_queue_deliveries",
            "Pushes that ended, by HTTP status; 0 is no answer.",
            labels=[*_QUEUE, "status"],
        )
        now = self._clock.now()
        for queue in self._engine.list_queues():
            stats = self._engine.queue_stats(queue.name)
            if stats is None:
                continue
            name = queue.name.split("/")[1::2]
            tasks.add_metric(name, stats.pending)
            running.add_metric(name, stats.in_flight)
            lag.add_metric(name, 0.0 if stats.oldest_due is None else max(0.0, now - stats.oldest_due))
            for status, count in self._engine.answers(queue.name).items():
                deliveries.add_metric([*name, str(status)], count)
        return tasks, running, lag, deliveries

    async def _answer(self, _call: Call) -> Answer:
        return Answer(200, {}, text=generate_latest(self).decode(), content_type=CONTENT_TYPE)
