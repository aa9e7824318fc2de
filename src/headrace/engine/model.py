"""What the engine speaks of: queues, tasks, targets, and the answers to those who ask for them.

All times are float seconds since 1970-01-01T00:00:00Z, all durations float seconds. A queue's name is its full
resource name, `projects/P/locations/L/queues/Q`; a task's name is the last segment of its own.
"""

import ssl
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from headrace.engine.reach import TargetRules
from headrace.retries import RetryLimits


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How fast a queue may push.

    `per_second` may be a fraction; 0 means never. `burst` tasks may go at once after a rest.
    `concurrency` pushes may be under way at one time.
    """

    per_second: float
    burst: int
    concurrency: int


class QueueState(Enum):
    """Tasks may be created in every state; only a running queue pushes by itself."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class OidcToken:
    """Whose identity token a push carries, and for which audience; an empty one is the URL that is pushed to."""

    service_account_email: str
    audience: str


@dataclass(frozen=True, slots=True)
class OAuthToken:
    """Whose access token a push carries, and for which scope."""

    service_account_email: str
    scope: str


Authorization: TypeAlias = OidcToken | OAuthToken


@dataclass(frozen=True, slots=True)
class UriOverride:
    """The parts of a URL that a queue puts in place of its tasks' own; None leaves a part alone.

    `only_if_missing`: a part is put in only where the task's URL has none.
    """

    scheme: str | None
    host: str | None
    port: int | None
    path: str | None
    query: str | None
    only_if_missing: bool


@dataclass(frozen=True, slots=True)
class HttpOverrides:
    """What a queue puts in place of its HTTP tasks' own; applied at each push, never stored with a task."""

    uri: UriOverride | None
    method: str | None
    headers: tuple[tuple[str, str], ...]
    authorization: Authorization | None


@dataclass(frozen=True, slots=True)
class AppEngineRouting:
    """Which part of an App Engine application a request goes to; empty strings are its defaults."""

    service: str
    version: str
    instance: str


@dataclass(frozen=True, slots=True)
class AppEngineUrls:
    """Where the parts of the App Engine application are served: base URLs.

    `others` are pairs of `SERVICE` or `VERSION.SERVICE` and its base URL; all the rest is at `default`.
    """

    default: str
    others: tuple[tuple[str, str], ...] = ()

    def base(self, routing: AppEngineRouting) -> str:
        """The base URL of what a request is routed to, without a slash at its end."""
        service = routing.service or "default"
        others = dict(self.others)
        url = others.get(f"{routing.version}.{service}") or others.get(service) or self.default
        return url.rstrip("/")


@dataclass(frozen=True, slots=True)
class Queue:
    """A named queue, its limits and its state.

    `name_memory` is how long the name of a finished task stays taken, `task_ttl` how long a task may live from
    its creation. Tasks created up to `purged_at` are dead. `http_overrides` and `routing` are put over the HTTP
    and the App Engine tasks of the queue. `log_sampling` is kept for who asked for it: nothing is logged by it.
    """

    name: str
    rate: RateLimits
    retry: RetryLimits
    state: QueueState
    purged_at: float | None
    name_memory: float
    task_ttl: float
    http_overrides: HttpOverrides | None = None
    routing: AppEngineRouting | None = None
    log_sampling: float | None = None


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """The request that a push makes; `headers` as the creator gave them, case and order kept."""

    url: str
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    authorization: Authorization | None


@dataclass(frozen=True, slots=True)
class AppEngineTarget:
    """A request to an App Engine application; `relative_uri` starts with a slash and may have a query."""

    relative_uri: str
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    routing: AppEngineRouting


Target: TypeAlias = HttpTarget | AppEngineTarget


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be created. No name: the engine gives one. No time, or one that is past: now.

    A `dispatch_deadline` of 0 is the default of App Engine targets. `retry` are its own retry limits, in place of
    its queue's.
    """

    name: str | None
    target: Target
    schedule_at: float | None
    dispatch_deadline: float
    retry: RetryLimits | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One push. `status` is the HTTP status of the answer; without an answer it is None and `error` says why."""

    dispatched_at: float
    scheduled_at: float
    responded_at: float | None
    status: int | None
    error: str


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands. `dispatch_count` includes a push that is under way.

    `execution_count` counts answers that were not 5xx. `previous_response` is the status of the last answer,
    504 where none came, None before the first push ended.
    """

    id: int
    queue: str
    name: str
    target: Target
    created_at: float
    schedule_at: float
    dispatch_deadline: float
    dispatch_count: int
    response_count: int
    execution_count: int
    first_attempt: Attempt | None
    last_attempt: Attempt | None
    previous_response: int | None
    retry: RetryLimits | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One push that ended, as the history keeps it: what was sent, and what came back.

    `task` is the task's name. `number` counts its pushes from 1. `seconds` is how long the push took. `headers`
    are those that were sent, save the ones that tell of the task and its token. `body` is the task's. `status` is
    None where no answer came; `error` then says why. `head` is the start of the answer's body.
    """

    task: str
    number: int
    started_at: float
    seconds: float
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    status: int | None
    error: str
    head: bytes


class RefusedReason(Enum):
    """Why a task was not created."""

    EXISTS = "EXISTS"
    EXISTED_RECENTLY = "EXISTED_RECENTLY"
    QUEUE_MISSING = "QUEUE_MISSING"


@dataclass(frozen=True, slots=True)
class CreateRefused:
    """The answer to a create that made no task."""

    reason: RefusedReason


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such task; `existed_recently` says whether its name is still remembered."""

    existed_recently: bool


@dataclass(frozen=True, slots=True)
class QueueStats:
    """`pending` counts all tasks that are not finished, `in_flight` those being pushed.

    `oldest_due` is the schedule time of the task that waits first in line, None when none waits. `tokens` are the
    pushes that could start at once.
    """

    pending: int
    in_flight: int
    oldest_due: float | None
    tokens: float


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine runs.

    `window`: tasks of each queue that are kept in memory. `window_bytes`: the same in bytes of payload.
    `tls`: context for https targets; None is the machine's trusted authorities. `app_engine`: where App Engine
    targets are served. `reach`: what pushes may reach; None is everything. `history` and `history_bytes`: how many
    of each queue's last deliveries are kept, and of how many bytes together.
    """

    window: int = 256
    window_bytes: int = 1 << 20
    tls: ssl.SSLContext | None = None
    app_engine: AppEngineUrls = AppEngineUrls("http://127.0.0.1:8080")
    reach: TargetRules | None = None
    history: int = 1000
    history_bytes: int = 1 << 20
