"""The contract as the service reads it: operations, what each is, and whom it is for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from marshmallow import Schema
from marshmallow.fields import Field

from headrace.contract.limits import dispatch_deadline_of
from headrace.contract.references import Place
from headrace.contract.schemas import Schemas
from headrace.errors import PushRefused

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
    PUBLIC = "public"


class Overlap(StrEnum):
    """What a job does when its last run is still under way."""

    SKIP = "skip"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class JobOptions:
    """`x-job`. `time_limit`: seconds that one request splits before the run goes on as a task."""

    overlap: Overlap = Overlap.SKIP
    time_limit: float = 50.0


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """`x-task`. `batch_size` is in items, `time_limit` in seconds.

    `schema` is the Python path of what describes the payload, or one item of it, for code: see `Operation.schema`.
    """

    queue: str
    batch_size: int = 1
    idempotent: bool = True
    time_limit: float = 300.0
    schema: str | None = None

    @property
    def dispatch_deadline(self) -> float:
        """Seconds that the queue waits for an answer."""
        return dispatch_deadline_of(self.time_limit)


@dataclass(frozen=True, slots=True)
class Operation:
    """One path and method of openapi.yaml, bound to its function. `line` is the operation's line in the file.

    `parameters` names the path and query parameters that the function gets. `payload` points to the JSON schema
    of the body; None where there is no body, or no schema of it. `schema` describes the same for code: a marshmallow
    schema for objects, a field for scalars; where the payload is an array, it describes one item.
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
    """All operations, the names of the declared queues, and the document they were read from."""

    operations: tuple[Operation, ...]
    queues: frozenset[str]
    document: Mapping[str, Any] = field(repr=False)
    schemas: Schemas = field(repr=False)
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
            name = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
            raise PushRefused(
                f"{name} is not a handler of the contract.",
                hint=f"Declare it in openapi.yaml as the operationId of a path under {TASK_PREFIX}.",
            )
        return operation

    def check_payload(self, operation: Operation, payload: Any) -> None:
        """See that `payload`, a JSON value, fits the operation's schema, as the handler's endpoint would.

        Raises PushRefused with the JSON pointer of what does not fit.
        """
        if operation.payload is None:
            return
        violation = self.schemas.violation(operation.payload, payload)
        if violation is not None:
            raise PushRefused(
                f"The payload breaks the schema of {operation.operation_id} at {violation.pointer or '/'}: "
                f"{violation.message}.",
                hint="Nothing was written. openapi.yaml has the schema.",
            )
