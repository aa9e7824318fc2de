"""What the Cloud Tasks API answers when it refuses: codes and texts as real Cloud Tasks words them.

Texts marked "ours" stand for what real Cloud Tasks would do and this server does not, or does not yet; all
others are recorded answers of the real service or quoted from it.
"""

from dataclasses import dataclass
from enum import IntEnum
from zoneinfo import ZoneInfo

from headrace.cloud.descriptors import Help, Message, Status
from headrace.errors import HeadraceError

CALIFORNIA = ZoneInfo("America/Los_Angeles")
"""The time zone of times in the real service's texts."""
_REFERENCE = "https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues"


class Code(IntEnum):
    """The google.rpc codes that this server answers with, or shows on an attempt."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class HelpLink:
    """A google.rpc.Help detail with one link."""

    description: str
    url: str


class ApiError(HeadraceError):
    """A call is refused: `rpc_code` and `message` go to the caller as they are, `help_link` as a detail."""

    code = "API_REFUSED"

    def __init__(self, rpc_code: Code, message: str, help_link: HelpLink | None = None) -> None:
        super().__init__(message)
        self.rpc_code = rpc_code
        self.help_link = help_link

    def to_status(self) -> Message:
        """The refusal as a google.rpc.Status, with its details packed."""
        status = Status(code=self.rpc_code, message=self.message)
        if self.help_link is not None:
            detail = Help()
            detail.links.add(description=self.help_link.description, url=self.help_link.url)
            status.details.add().Pack(detail)
        return status


def invalid(message: str, help_link: HelpLink | None = None) -> ApiError:
    """INVALID_ARGUMENT with this text."""
    return ApiError(Code.INVALID_ARGUMENT, message, help_link)


def unimplemented(what: str) -> ApiError:
    """UNIMPLEMENTED (ours): `what` names the part that is missing, in the plural or as an RPC's name."""
    return ApiError(Code.UNIMPLEMENTED, f"The Headrace queue server does not serve {what}.")


def bad_resource_name() -> ApiError:
    """A parent or name that is not formed as one."""
    return invalid("Invalid resource field value in the request.")


def bad_task_id(task_id: str) -> ApiError:
    """The last segment of a task's name holds a character that it may not, or is too long."""
    return invalid(
        f'Task ID "{task_id}" can contain only letters ([A-Za-z]), numbers ([0-9]), hyphens (-), '
        "or underscores (_). Task ID must between 1 and 500 characters.",
        HelpLink("Definition of task ID", f"{_REFERENCE}.tasks#Task.FIELDS.name"),
    )


def queue_mismatch(requested: str, named: str) -> ApiError:
    """The task's name lies in another queue than the one that the request names."""
    return invalid(
        f"The queue name from request ('{requested}') must be the same as the queue name in the named task ('{named}')."
    )


def queue_missing() -> ApiError:
    """No such queue, or one that was deleted recently."""
    return ApiError(
        Code.NOT_FOUND,
        "Queue does not exist. If you just created the queue, wait at least a minute for the queue to initialize.",
    )


def task_missing(*, existed_recently: bool = False) -> ApiError:
    """No such task; `existed_recently` when its name is still remembered (GetTask alone tells)."""
    if existed_recently:
        text = (
            "The task no longer exists, though a task with this name existed recently. "
            "The task either successfully completed or was deleted."
        )
    else:
        text = "Requested entity was not found."
    return ApiError(Code.NOT_FOUND, text)


def task_exists() -> ApiError:
    """A task with this name waits or runs."""
    return ApiError(Code.ALREADY_EXISTS, "Requested entity already exists")


def task_existed_recently() -> ApiError:
    """A task with this name is gone, and the queue still remembers the name."""
    return ApiError(
        Code.ALREADY_EXISTS,
        "The task cannot be created because a task with this name existed too recently. "
        f"For more information about task de-duplication see {_REFERENCE}.tasks/create"
        "#body.request_body.FIELDS.task.",
    )
