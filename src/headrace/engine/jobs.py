"""What the scheduler speaks of: jobs, what a firing of theirs sends, and what comes of it.

Times are float seconds since 1970-01-01T00:00:00Z, durations float seconds.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol, TypeAlias

from headrace.engine.model import AppEngineTarget, HttpTarget
from headrace.retries import RetryLimits

DEFAULT_RETRY = RetryLimits(max_attempts=1, max_duration=0, min_backoff=5, max_backoff=3600, max_doublings=5)
"""No second attempt, and the waits of the other limits (Cloud Scheduler v1, RetryConfig)."""


class Schedule(Protocol):
    """When a job fires; `headrace.schedules.Schedule` is one."""

    @property
    def text(self) -> str: ...

    @property
    def timezone(self) -> str: ...

    def next_after(self, start: datetime) -> datetime:
        """The first time strictly after `start`; both are aware UTC."""
        ...


@dataclass(frozen=True, slots=True)
class PubsubTarget:
    """A message to the topic `projects/P/topics/T`."""

    topic: str
    data: bytes
    attributes: tuple[tuple[str, str], ...]


JobTarget: TypeAlias = HttpTarget | AppEngineTarget | PubsubTarget


class JobState(Enum):
    """Only an enabled job fires by itself; any job may be run by hand."""

    ENABLED = "ENABLED"
    PAUSED = "PAUSED"


@dataclass(frozen=True, slots=True)
class Job:
    """What is sent, and when. `name` is the full resource name, `projects/P/locations/L/jobs/J`."""

    name: str
    schedule: Schedule
    target: JobTarget
    retry: RetryLimits
    attempt_deadline: float
    state: JobState

    @property
    def id(self) -> str:
        """The last segment of the name."""
        return self.name.rpartition("/")[2]

    @property
    def timing(self) -> str:
        """What the times of the job follow from; another timing starts afresh."""
        return f"{self.schedule.text} {self.schedule.timezone}"

    def next_after(self, when: float) -> float:
        """The first scheduled time after `when`."""
        return self.schedule.next_after(datetime.fromtimestamp(when, UTC)).timestamp()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: the HTTP status of its answer, or why there was none, in words and by its code."""

    status: int | None
    error: str = ""
    error_code: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the answer ends the firing."""
        return self.status is not None and 200 <= self.status < 300
