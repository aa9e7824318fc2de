"""Jobs as Cloud Scheduler shows them: as they were given, and how far they have come."""

from headrace.cloud.descriptors import Message, set_time
from headrace.cloud.errors import Code
from headrace.cloud.http_codes import code_of
from headrace.cloud.scheduler.messages import Job
from headrace.engine.errors import TargetForbidden, TargetTimedOut
from headrace.engine.firings import Progress
from headrace.engine.jobs import Outcome

_NEVER_ATTEMPTED = -1
"""The code in `status` before the first attempt, as the real service shows it."""
_FAILURES = {
    TargetTimedOut.code: Code.DEADLINE_EXCEEDED,
    TargetForbidden.code: Code.PERMISSION_DENIED,
}
"""The codes of requests that got no answer; UNAVAILABLE for all others."""


def job_message(stored: Message, progress: Progress, now: float) -> Message:
    """The stored job with its next time, its last attempt and what came of it; a paused job has no next time."""
    message = Job()
    message.CopyFrom(stored)
    if stored.state == Job.ENABLED:
        set_time(message.schedule_time, progress.next_request(now))
    if progress.attempted_at is not None:
        set_time(message.last_attempt_time, progress.attempted_at)
    _fill_status(message.status, progress.outcome)
    return message


def _fill_status(status: Message, outcome: Outcome | None) -> None:
    status.SetInParent()
    if outcome is None:
        status.code = _NEVER_ATTEMPTED
    elif outcome.status is None:
        status.code = _FAILURES.get(outcome.error_code, Code.UNAVAILABLE)
        status.message = outcome.error
    elif not outcome.succeeded:
        status.code = code_of(outcome.status)
        status.message = f"HTTP status code {outcome.status}"
