"""The one order of limits: time limit < lease < dispatch deadline < the server's worker time-out.

An attempt that keeps its time limit ends while it holds its lease; a lease ends before the queue gives up on the
answer; the queue gives up before the server would. So each part hears of a failure from the part below it.
All values are in seconds.
"""

# Between the limit of an attempt and the end of its lease: time to write the outcome.
LEASE_MARGIN = 15.0

# Between the end of the lease and the queue's deadline: time for the answer to travel.
DEADLINE_MARGIN = 15.0

# Cloud Tasks and Cloud Scheduler take deadlines from 15 seconds to 30 minutes for HTTP targets.
SHORTEST_DEADLINE = 15.0
LONGEST_DEADLINE = 1_800.0

# gunicorn's time-out for a worker: longer than any deadline, so no worker is stopped under a live attempt.
WORKER_TIMEOUT = 1_830.0

LONGEST_TIME_LIMIT = LONGEST_DEADLINE - DEADLINE_MARGIN - LEASE_MARGIN
SHORTEST_TIME_LIMIT = 1.0


def lease_of(time_limit: float) -> float:
    """How long an attempt with this time limit holds its batch."""
    return time_limit + LEASE_MARGIN


def dispatch_deadline_of(time_limit: float) -> float:
    """How long the queue waits for the answer of an attempt with this time limit."""
    return max(SHORTEST_DEADLINE, lease_of(time_limit) + DEADLINE_MARGIN)


def limit_fault(time_limit: float) -> str | None:
    """Why this time limit breaks the order, or None when it holds."""
    if time_limit < SHORTEST_TIME_LIMIT:
        return f"is {time_limit:g} s; give at least {SHORTEST_TIME_LIMIT:g} s"
    if time_limit > LONGEST_TIME_LIMIT:
        return (
            f"is {time_limit:g} s; with {LEASE_MARGIN:g} s for the lease and {DEADLINE_MARGIN:g} s for the answer "
            f"it passes the dispatch deadline of {LONGEST_DEADLINE:g} s, the longest that Cloud Tasks takes: "
            f"give at most {LONGEST_TIME_LIMIT:g} s, or cut the work into smaller batches"
        )
    return None
