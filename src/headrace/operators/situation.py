"""How things stand: backlog and pace of each handler, live runs, what needs somebody."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.clock import Clock, rfc3339
from headrace.database import Database, backlog_rows, minute_rows, trouble_rows
from headrace.database.backlog_rows import GLIMPSED, Backlog, count_in, count_waiting, waits_since
from headrace.database.minute_rows import MinuteRow
from headrace.database.states import BatchState

MINUTE = 60_000
SHOWN = 60
"""Minutes of a chart."""
RECENT = 5
"""Whole minutes that a rate is taken of."""
FAILURES_SHOWN = 5
_WAITING = (BatchState.PENDING, BatchState.PUSHED)


@dataclass(frozen=True, slots=True)
class Situation:
    """Reads it all at a cost that finished work does not raise. `queues` names the queue of each handler."""

    database: Database
    clock: Clock
    queues: Mapping[str, str]

    def now(self) -> dict[str, Any]:
        """The situation: `handlers` by name, `totals`, live `runs` by state, a `chart` of the last hour, `failures`.

        Counts are exact up to 2,000 batches of a state, and of those that wait also where large runs have them;
        `at_least` names the counts that may be higher. Rates are tasks a minute, of the last five whole minutes;
        `failures` are the latest attempts that ended badly.
        """
        now = int(self.clock.now() * 1000)
        first = now // MINUTE * MINUTE - (SHOWN - 1) * MINUTE
        with self.database.read() as connection:
            backlog = backlog_rows.read_backlog(connection, now=now, at_most=GLIMPSED)
            outstanding = backlog_rows.outstanding_by_handler(connection)
            live = backlog_rows.count_live_runs(connection)
            minutes = minute_rows.list_minutes(connection, since=first)
            failures = trouble_rows.latest_failures(connection, limit=FAILURES_SHOWN)
        names = sorted({*self.queues, *outstanding, *(each.handler for each in backlog)})
        waiting = {name: count_waiting(name, backlog, outstanding) for name in names}
        handlers = [
            {
                "handler": name,
                "queue": self.queues.get(name, ""),
                "waiting": waiting[name],
                **_counts([each for each in backlog if each.handler == name], now),
                **_pace([each for each in minutes if each.handler == name], now),
            }
            for name in names
        ]
        return {
            "handlers": handlers,
            "totals": {
                "waiting": sum(waiting.values()),
                "at_least": _at_least(backlog, sum(waiting.values())),
                **_counts(backlog, now),
                **_pace(minutes, now),
            },
            "runs": {state.value: count for state, count in live.items()},
            "chart": chart(minutes, first),
            "failures": [{**asdict(each), "ended_at": rfc3339(each.ended_at)} for each in failures],
        }


def chart(minutes: Sequence[MinuteRow], first: int) -> dict[str, Any]:
    """Counts a minute from `first` (epoch milliseconds) on, 0 where there is none: times are epoch seconds. Pure."""
    done, failed = [0] * SHOWN, [0] * SHOWN
    for row in minutes:
        at = (row.minute - first) // MINUTE
        if 0 <= at < SHOWN:
            done[at] += row.done
            failed[at] += row.failed
    return {
        "times": [first // 1000 + 60 * at for at in range(SHOWN)],
        "series": [{"label": "tasks done", "values": done}, {"label": "attempts failed", "values": failed}],
    }


def _counts(backlog: Sequence[Backlog], now: int) -> dict[str, Any]:
    since = waits_since(backlog)
    return {
        "running": count_in(backlog, BatchState.RUNNING),
        "undecided": count_in(backlog, BatchState.UNDECIDED),
        "dead": count_in(backlog, BatchState.DEAD),
        "oldest": None if since is None else (now - since) / 1000,
    }


def _at_least(backlog: Sequence[Backlog], waiting: int) -> list[str]:
    """The names of the counts that stopped at so many rows, and that no counter told more of."""
    names = {"dead": BatchState.DEAD, "undecided": BatchState.UNDECIDED, "running": BatchState.RUNNING}
    found = [name for name, state in names.items() if count_in(backlog, state) >= GLIMPSED]
    in_rows = [count_in(backlog, state) for state in _WAITING]
    return [*found, "waiting"] if max(in_rows) >= GLIMPSED and waiting <= sum(in_rows) else found


def _pace(minutes: Sequence[MinuteRow], now: int) -> dict[str, Any]:
    begun = now // MINUTE * MINUTE
    attempts, failed = sum(row.attempts for row in minutes), sum(row.failed for row in minutes)
    return {
        "a_minute": sum(row.done for row in minutes if begun - RECENT * MINUTE <= row.minute < begun) / RECENT,
        "done_last_hour": sum(row.done for row in minutes),
        "items_last_hour": sum(row.items for row in minutes),
        "failed_share": failed / attempts if attempts else None,
        "mean_seconds": sum(row.busy for row in minutes) / attempts / 1000 if attempts else None,
    }
