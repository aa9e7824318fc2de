"""Every error that Headrace raises on purpose.

    HeadraceError                 code, HTTP status, hint: what to do about it
    ├── ConfigError               a file or a setting is wrong; carries faults with file, line and column
    │   └── ContractError         openapi.yaml and what it binds do not fit together
    ├── StartError                a part cannot start: port taken, data folder held, database too new
    ├── RequestError              a request is refused
    │   ├── BadRequest            400: breaks its schema; names the JSON pointer
    │   ├── Unauthenticated       401: no token, or one that does not verify
    │   ├── Forbidden             403: known, but not allowed here
    │   ├── NotFound              404
    │   ├── Conflict              409: a live lease holds the batch; carries retry_after
    │   ├── WrongState            409: what was asked for cannot be done to it as it is
    │   ├── Gone                  410: the batch of this task is not known any more
    │   ├── TooLarge              413
    │   ├── WrongContentType      415
    │   ├── Unreachable           503: the queue that was to be asked or steered gives no answer
    │   └── Overloaded            503: the machine has too much to do; carries retry_after
    ├── PushRefused               a payload or queue was refused before anything was written
    │   └── QueueFull             429: the queue is at its cap
    ├── Said                      what a handler raises to say what it means
    │   ├── Retry                 try again, after some seconds or by the queue's rules
    │   │   └── ItemsFailed       some items failed, and they alone are tried again
    │   ├── Snooze                too early: come back, and this was no attempt
    │   ├── Cancel                there is no need any more
    │   ├── PermanentFailure      no retry will mend this
    │   └── EffectNotDone         an effect that certainly did not happen
    ├── LostLease                 the attempt was fenced off: another one owns the batch now
    └── DriverError               the queue could not be reached or gave an answer that is no answer

Rooms have branches of their own: headrace.engine.errors (the store, the pushes), headrace.cloud.errors (refusals
of the Cloud Tasks API), headrace.schedules (ScheduleError, TimezoneError), headrace.alerts.senders (SendError),
headrace.local.service (ServiceError).

A boundary translates: SQL to these, these to google.rpc.Status or to an ErrorResponse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Level(Enum):
    """How bad a fault is: an error stops the start, a warning is printed."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file: where, and what to do about it. Lines and columns count from 1; 0 is unknown."""

    file: str
    line: int
    column: int
    message: str
    level: Level = Level.ERROR

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.level.value}: {self.message}"


class HeadraceError(Exception):
    """Root of the tree above.

    `code` is a stable word for programs, `status` the HTTP status of an answer made of it, `hint` what to do.
    """

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class ConfigError(HeadraceError):
    """Files or settings are wrong; `faults` lists everything found, not the first alone."""

    code = "BAD_CONFIGURATION"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class ContractError(ConfigError):
    """openapi.yaml, code, queue.yaml and cron.yaml do not fit together."""

    code = "BAD_CONTRACT"


class StartError(HeadraceError):
    """A part cannot start; the message is one line that says what to do."""

    code = "CANNOT_START"


class RequestError(HeadraceError):
    """A request is refused; the message goes to the caller."""

    code = "BAD_REQUEST"
    status = 400


class BadRequest(RequestError):
    """The request breaks its schema; `pointer` is the JSON pointer of the fault in the body."""

    def __init__(self, message: str, *, pointer: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pointer = pointer


class Unauthenticated(RequestError):
    """No token, or one that does not verify."""

    code = "UNAUTHENTICATED"
    status = 401


class Forbidden(RequestError):
    """The caller is not allowed to do this here."""

    code = "PERMISSION_DENIED"
    status = 403


class NotFound(RequestError):
    """There is no such thing, or not for this caller."""

    code = "NOT_FOUND"
    status = 404


class Conflict(RequestError):
    """A live lease holds what was asked for; `retry_after` is in seconds."""

    code = "ABORTED"
    status = 409

    def __init__(self, message: str, *, retry_after: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class WrongState(RequestError):
    """It is there, but in a state in which this cannot be done to it; nothing was changed."""

    code = "WRONG_STATE"
    status = 409


class Gone(RequestError):
    """The task names a batch whose record does not exist any more."""

    code = "GONE"
    status = 410


class TooLarge(RequestError):
    """The body is larger than this service takes."""

    code = "TOO_LARGE"
    status = 413


class WrongContentType(RequestError):
    """The body's content type is not one of the operation's."""

    code = "WRONG_CONTENT_TYPE"
    status = 415


class Unreachable(RequestError):
    """The queue that was to be asked or steered gives no answer."""

    code = "QUEUE_UNAVAILABLE"
    status = 503


class Overloaded(RequestError):
    """The machine has too much to do to begin this now; `retry_after` is in seconds."""

    code = "OVERLOADED"
    status = 503

    def __init__(self, message: str, *, retry_after: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class PushRefused(HeadraceError):
    """A payload or a queue was refused before anything was written."""

    code = "PUSH_REFUSED"


class QueueFull(PushRefused):
    """The queue has as many tasks as its cap allows; push again later."""

    code = "QUEUE_FULL"
    status = 429


class LostLease(HeadraceError):
    """This attempt no longer owns its batch; nothing that it writes now is kept."""

    code = "LOST_LEASE"
    status = 409


class DriverError(HeadraceError):
    """The queue could not be reached, or did not answer; what was committed is pushed later."""

    code = "QUEUE_UNAVAILABLE"
    status = 503


class Said(HeadraceError):
    """Root of what a handler raises to say what is to become of its batch, or an effect of its effect."""

    code = "SAID"

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)


class Retry(Said):
    """Try the batch again, `after` seconds from now; None is the queue's own backoff. It counts as a failed attempt."""

    code = "RETRY"

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class ItemsFailed(Retry):
    """Items of the batch failed, and they alone are tried again; `after` is the longest that one of them asked for."""

    code = "ITEMS_FAILED"


class Snooze(Said):
    """Too early: the batch comes back `after` seconds from now, and this was no attempt."""

    code = "SNOOZE"

    def __init__(self, after: float, reason: str = "") -> None:
        super().__init__(reason)
        self.after = after


class Cancel(Said):
    """There is no need for this batch any more: it ends as cancelled."""

    code = "CANCEL"


class PermanentFailure(Said):
    """No retry will mend this: the batch, or the item, fails for good."""

    code = "PERMANENT_FAILURE"


class EffectNotDone(Said):
    """Raised by an effect that certainly did not happen: it may be tried again without a person's decision."""

    code = "EFFECT_NOT_DONE"
