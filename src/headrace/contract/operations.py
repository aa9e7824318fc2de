"""The contract as the service reads it: operations, what each is, and whom it is for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from marshmallow import Schema
from marshmallow.fields import Field

from headrace.config.crons import CronEntry
from headrace.config.queues import DEFAULT_BUCKET_SIZE, DEFAULT_CONCURRENCY
from headrace.contract.limits import dispatch_deadline_of
from headrace.contract.references import Place
from headrace.contract.schemas import Schemas, Violation
from headrace.errors import PushRefused
from headrace.retries import RetryLimits

CRON_PREFIX = "/v1/cron/"
TASK_PREFIX = "/v1/cloudTask/"
# The one content type of bodies.
JSON = "application/json"


class Kind(Enum):
    """What an operation is; its path decides."""

    JOB = "job"
    SWEEP = "sweep"
    HANDLER = "handler"
    REQUEST = "request"


class Guard(Enum):
    """Who may call an operation; the value is the name of the security scheme in openapi.yaml."""

    CRON = "cronCaller"
    TASK_QUEUE = "taskQueue"
    ADMIN = "adminToken"
    # A scheme of the application's own, under any name: its x-guard says who calls.
    CALLER = "x-guard"
    PUBLIC = "public"


class Permission(StrEnum):
    """What an operator may do; an operation names one as the scope of `adminToken`.

    `admin` is everything; an operation that names none needs it.
    """

    READ = "read"
    SEND_SCHEDULE = "send_schedule"
    RETRY_TASK = "retry_task"
    CANCEL = "cancel"
    DECIDE = "decide"
    PAUSE = "pause"
    PURGE = "purge"
    SETTINGS = "settings"
    ACKNOWLEDGE = "acknowledge"
    ADMIN = "admin"


CallerOf = Callable[[str | None], str | None]
"""From the bearer token of a request (None: it has none) to the caller's name; None lets nobody in."""


class Overlap(StrEnum):
    """What a job does when a run of the same scope is still under way.

    skip: the new one is recorded and not started. queue: it waits. replace: the old one is cancelled. allow: both run.
    """

    SKIP = "skip"
    QUEUE = "queue"
    REPLACE = "replace"
    ALLOW = "allow"


class Missed(StrEnum):
    """What becomes of firings whose time passed unseen: none, one for all of them, or each."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"


class OnTimeout(StrEnum):
    """What an attempt that passed its time limit is: to be tried again, or the last."""

    RETRY = "retry"
    FAIL = "fail"


class WhenFull(StrEnum):
    """What a queue at its cap does with one more task: keeps it back, or refuses it."""

    PARK = "park"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class JobOptions:
    """`x-job`. Times are in seconds.

    `time_limit`: how long one request splits before the run goes on as a task. `overlap_limit`: so many runs side by
    side, with `allow`. `overlap_key`: parameters; runs whose values of them differ do not meet. `late_after`: how
    long after its time a firing may begin before its schedule counts as late. `on_start`: one run for each release.
    `object`: the parameter that says what a run is about.
    """

    overlap: Overlap = Overlap.SKIP
    overlap_limit: int | None = None
    overlap_key: tuple[str, ...] = ()
    object: str | None = None
    missed: Missed = Missed.ONE
    late_after: float = 300.0
    on_start: bool = False
    time_limit: float = 50.0


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """`x-task`. `batch_size` is in items, `time_limit` in seconds.

    `schema` is the Python path of what describes the payload, or one item of it, for code: see `Operation.schema`.
    `permanent` are classes of errors that no retry mends. `fallback` is the Python path of what is called, once, for
    a batch that is dead. `ordered_by` names a property of the payload: batches with one value of it run one at a
    time. `driver` names what carries the tasks, "" the service's own.
    """

    queue: str
    batch_size: int = 1
    idempotent: bool = True
    time_limit: float = 600.0
    schema: str | None = None
    permanent: tuple[type[Exception], ...] = ()
    fallback: str | None = None
    on_timeout: OnTimeout = OnTimeout.RETRY
    ordered_by: str | None = None
    driver: str = ""

    @property
    def dispatch_deadline(self) -> float:
        """Seconds that the queue waits for an answer."""
        return dispatch_deadline_of(self.time_limit)


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """A queue of queue.yaml, as the service needs to know it. `max_pending` caps what is outstanding on it."""

    name: str
    retry: RetryLimits
    max_pending: int | None = None
    when_full: WhenFull = WhenFull.PARK
    rate_per_second: float = 0.0
    bucket_size: int = DEFAULT_BUCKET_SIZE
    max_concurrent_requests: int = DEFAULT_CONCURRENCY


@dataclass(frozen=True, slots=True)
class Operation:
    """One path and method of openapi.yaml, bound to its function. `line` is the operation's line in the file.

    `parameters` names the path and query parameters that the function gets. `payload` points to the JSON schema
    of the body; None where there is no body, or no schema of it. `schema` describes the same for code: a marshmallow
    schema for objects, a field for scalars; where the payload is an array, it describes one item. `caller_of` is
    the application's own guard, where `guard` is CALLER; `permission` what an operator needs, where it is ADMIN.
    """

    path: str
    method: str
    operation_id: str
    kind: Kind
    function: Callable[..., Any]
    guard: Guard
    job: JobOptions | None
    task: TaskOptions | None
    line: int
    parameters: tuple[str, ...] = ()
    payload: Place | None = None
    schema: Schema | Field[Any] | None = None
    fallback: Callable[..., Any] | None = None
    caller_of: CallerOf | None = None
    permission: Permission = Permission.ADMIN

    def items_of(self, payload: Any) -> list[Any]:
        """The elements of an array, or the payload alone: objects as the schema makes them, scalars as they are.

        Raises marshmallow.ValidationError when the schema refuses what the JSON schema could not.
        """
        items = payload if isinstance(payload, list) else [payload]
        if not isinstance(self.schema, Schema):
            return items
        loaded: list[Any] = self.schema.load(items, many=True)
        return loaded


@dataclass(frozen=True, slots=True)
class Contract:
    """All operations, the declared queues by name, the document they were read from, and the entries of cron.yaml."""

    operations: tuple[Operation, ...]
    queues: Mapping[str, QueueOptions]
    document: Mapping[str, Any] = field(repr=False)
    schemas: Schemas = field(repr=False)
    crons: tuple[CronEntry, ...] = ()
    by_id: Mapping[str, Operation] = field(init=False, repr=False)
    _by_function: Mapping[Callable[..., Any], Operation] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Derived once; a frozen dataclass has no other way to set what follows from its own fields.
        object.__setattr__(self, "by_id", {each.operation_id: each for each in self.operations})
        object.__setattr__(self, "_by_function", {each.function: each for each in self.operations})

    def handler_of(self, function: Callable[..., Any]) -> Operation:
        """The handler operation that `function` is bound to.

        Raises PushRefused when it is bound to none.
        """
        operation = self._by_function.get(function)
        if operation is None or operation.kind is not Kind.HANDLER:
            raise PushRefused(
                f"{_name_of(function)} is not a handler of the contract.",
                hint=f"Declare it in openapi.yaml as the operationId of a path under {TASK_PREFIX}.",
            )
        return operation

    def job_of(self, function: Callable[..., Any]) -> Operation:
        """The job operation that `function` is bound to.

        Raises PushRefused when it is bound to none.
        """
        operation = self._by_function.get(function)
        if operation is None or operation.job is None:
            raise PushRefused(
                f"{_name_of(function)} is not a job of the contract.",
                hint=f"Declare it in openapi.yaml as the operationId of a path under {CRON_PREFIX}, with x-job.",
            )
        return operation

    def check_payload(self, operation: Operation, payload: Any) -> None:
        """See that `payload`, a JSON value, fits the operation's schema, as the handler's endpoint would.

        Raises PushRefused with the JSON pointer of what does not fit.
        """
        violation = self.violation(operation, payload)
        if violation is not None:
            raise PushRefused(
                f"The payload breaks the schema of {operation.operation_id} at {violation.pointer or '/'}: "
                f"{violation.message}.",
                hint="Nothing was written. openapi.yaml has the schema.",
            )

    def violation(self, operation: Operation, payload: Any) -> Violation | None:
        """What in `payload`, a JSON value, breaks the operation's schema; None when all is well."""
        return None if operation.payload is None else self.schemas.violation(operation.payload, payload)


def _name_of(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
