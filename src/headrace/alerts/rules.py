"""The rules: what is worth an alert, by what was read of the database. Pure. Times are epoch milliseconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.config.alerts import Rule
from headrace.database.states import RunState
from headrace.database.trouble_rows import LastRun

NO_PROGRESS = frozenset({Rule.WAITING, Rule.LATE})
"""While one of these holds, the heartbeat keeps silent."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Seconds, unless said otherwise.

    `recent`: attempts that count. `failures`: so many of them ended badly at least, and `failure_share` of all, from
    0 to 1. `died`: how long a death counts. `waiting`: how long a batch may wait while none of its handler's ends.
    `repeat`: an alert that fires again sooner is not notified again.
    """

    recent: float = 900.0
    failures: int = 5
    failure_share: float = 0.5
    died: float = 3_600.0
    waiting: float = 600.0
    repeat: float = 3_600.0


@dataclass(frozen=True, slots=True)
class Share:
    """Of a handler's recent attempts, those that ended badly, and all."""

    failed: int
    ended: int


@dataclass(frozen=True, slots=True)
class FullQueue:
    """A queue at its cap: so many tasks are outstanding. `oldest_age` is in seconds, None where nothing waits."""

    name: str
    outstanding: int
    refuses: bool
    oldest_age: float | None


@dataclass(frozen=True, slots=True)
class Troubles:
    """What was read: counts and times by handler, schedules by url, the last run of each job, queues at their cap."""

    now: int
    dead: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, Share] = field(default_factory=dict)
    waiting_since: Mapping[str, int] = field(default_factory=dict)
    undecided: Mapping[str, int] = field(default_factory=dict)
    silent: Mapping[str, int] = field(default_factory=dict)
    late_since: Mapping[str, int] = field(default_factory=dict)
    last_runs: Sequence[LastRun] = ()
    full_queues: Sequence[FullQueue] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule holds for an object: a handler, a job, a schedule's url, a queue."""

    rule: Rule
    object: str
    detail: str


def find(troubles: Troubles, thresholds: Thresholds) -> list[Finding]:
    """Every rule that holds, and for what."""
    return [
        Finding(rule, about, detail)
        for rule, watch in _WATCHES.items()
        for about, detail in watch(troubles, thresholds)
    ]


Found = Iterator[tuple[str, str]]


def _dead(troubles: Troubles, thresholds: Thresholds) -> Found:
    """Batches died lately, and nobody has retried or discarded them."""
    for handler, count in troubles.dead.items():
        yield handler, f"{_count(count, 'batch', 'batches')} died in the last {_span(thresholds.died)}."


def _failing(troubles: Troubles, thresholds: Thresholds) -> Found:
    """Enough of the recent attempts ended badly."""
    for handler, share in troubles.shares.items():
        if share.failed >= thresholds.failures and share.failed >= thresholds.failure_share * share.ended:
            yield handler, f"{share.failed} of {share.ended} attempts failed in the last {_span(thresholds.recent)}."


def _waiting(troubles: Troubles, thresholds: Thresholds) -> Found:
    """A batch waits, and no attempt of its handler begins or ends."""
    for handler, since in troubles.waiting_since.items():
        if troubles.now - since > 1000 * thresholds.waiting:
            yield handler, f"Work waits, and none has ended for {_span((troubles.now - since) / 1000)}."


def _undecided(troubles: Troubles, _thresholds: Thresholds) -> Found:
    """Only a person can say what becomes of a batch."""
    for handler, count in troubles.undecided.items():
        yield handler, f"{_count(count, 'batch waits', 'batches wait')} for a person's decision."


def _stuck(troubles: Troubles, thresholds: Thresholds) -> Found:
    """Attempts went past their time limit, or died: nothing was heard until the end of their lease."""
    for handler, count in troubles.silent.items():
        limit = "passed the time limit or said nothing to the end of the lease"
        yield handler, f"{_count(count, 'attempt', 'attempts')} {limit} in the last {_span(thresholds.recent)}."


def _late(troubles: Troubles, _thresholds: Thresholds) -> Found:
    """A schedule's time passed, and no run came."""
    for url, since in troubles.late_since.items():
        yield url, f"No run came at its time, {_span((troubles.now - since) / 1000)} ago, or since."


def _run_failed(troubles: Troubles, _thresholds: Thresholds) -> Found:
    """The last run of a job failed; the next one that completes resolves it."""
    for run in troubles.last_runs:
        if run.state is RunState.FAILED:
            yield run.job, f"Its last run, {run.run_id}, failed{f': {run.reason}' if run.reason else '.'}"


def _queue_full(troubles: Troubles, thresholds: Thresholds) -> Found:
    """A queue at its cap refuses tasks, or keeps them back for long."""
    for queue in troubles.full_queues:
        at_cap = f"{queue.outstanding:,} tasks are outstanding: its cap."
        if queue.refuses:
            yield queue.name, f"{at_cap} It refuses more."
        elif queue.oldest_age is not None and queue.oldest_age > thresholds.waiting:
            yield queue.name, f"{at_cap} More have waited for {_span(queue.oldest_age)}."


_WATCHES = {
    Rule.DEAD: _dead,
    Rule.FAILING: _failing,
    Rule.WAITING: _waiting,
    Rule.UNDECIDED: _undecided,
    Rule.STUCK: _stuck,
    Rule.LATE: _late,
    Rule.RUN_FAILED: _run_failed,
    Rule.QUEUE_FULL: _queue_full,
}


def _count(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
