"""Gauges of what stands in the database when somebody asks: backlog by handler, its age, live runs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.clock import Clock
from headrace.database import Database, backlog_rows
from headrace.database.backlog_rows import COUNTED, Backlog, waits_since
from headrace.database.states import BatchState

_WAITING = (BatchState.PENDING, BatchState.PUSHED)
_STATES = (*_WAITING, BatchState.RUNNING, BatchState.UNDECIDED, BatchState.DEAD)
_HANDLER = ["handler", "queue"]


@dataclass(frozen=True, slots=True)
class BacklogCollector(Collector):
    """What has not ended well, by handler: those of the contract, with 0 too, and those that rows tell of.

    `queues` names the queue of each handler.
    """

    database: Database
    clock: Clock
    queues: Mapping[str, str]

    def collect(self) -> Iterable[Metric]:
        """Read the database; milliseconds, however much has ended."""
        now = int(self.clock.now() * 1000)
        with self.database.read() as connection:
            backlog = backlog_rows.read_backlog(connection, now=now)
            outstanding = backlog_rows.outstanding_by_handler(connection)
            live = backlog_rows.count_live_runs(connection)
        counts = count_batches(backlog, outstanding)
        batches = GaugeMetricFamily("headrace_batches", "Batches by state.", labels=[*_HANDLER, "state"])
        delayed = GaugeMetricFamily("headrace_batches_delayed", "Batches that wait and are due later.", labels=_HANDLER)
        oldest = GaugeMetricFamily(
            "headrace_oldest_waiting_seconds", "How long the oldest batch that is due has waited.", labels=_HANDLER
        )
        for handler in sorted({*self.queues, *(each.handler for each in backlog)}):
            labels = [handler, self.queues.get(handler, "")]
            waiting = [each for each in backlog if each.handler == handler and each.state in _WAITING]
            since = waits_since(waiting)
            for state in _STATES:
                batches.add_metric([*labels, state.value], counts.get((handler, state), 0))
            delayed.add_metric(labels, sum(each.delayed for each in waiting))
            oldest.add_metric(labels, 0.0 if since is None else (now - since) / 1000)
        runs = GaugeMetricFamily("headrace_runs", "Runs that have not ended, by state.", labels=["state"])
        for run_state, count in live.items():
            runs.add_metric([run_state.value], count)
        return batches, delayed, oldest, runs


def count_batches(backlog: Sequence[Backlog], outstanding: Mapping[str, int]) -> Mapping[tuple[str, BatchState], int]:
    """How many batches of each handler are in each state. Pure.

    Of a state with more rows than are counted, the steps' counters tell the rest: what is outstanding and in no other
    state is in it.
    """
    counts = {(each.handler, each.state): each.count for each in backlog}
    totals: dict[BatchState, int] = defaultdict(int)
    for (_, state), count in counts.items():
        totals[state] += count
    many = [state for state in _WAITING if totals[state] >= COUNTED]
    if many:
        for handler, all_of_it in outstanding.items():
            others = sum(counts.get((handler, state), 0) for state in _STATES[:-1] if state is not many[-1])
            known = counts.get((handler, many[-1]), 0)
            counts[handler, many[-1]] = max(known, all_of_it - others)
    return counts
