"""What the Cloud Tasks API answers when it refuses: codes and texts as real Cloud Tasks words them.

Texts marked "ours" stand for what real Cloud Tasks would do and this server does not, or does not yet; all
others are recorded answers of the real service or quoted from it.
"""

from enum import IntEnum
from zoneinfo import ZoneInfo

from headrace.cloud.descriptors import ErrorInfo, Help, Message, Status
from headrace.engine.model import RefusedReason
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


class ApiError(HeadraceError):
    """A call is refused: `rpc_code`, `message` and `details` (google.rpc messages) go to the caller as they are."""

    code = "API_REFUSED"

    def __init__(self, rpc_code: Code, message: str, *details: Message) -> None:
        super().__init__(message)
        self.rpc_code = rpc_code
        self.details = details

    def to_status(self) -> Message:
        """The refusal as a google.rpc.Status, with its details packed."""
        status = Status(code=self.rpc_code, message=self.message)
        for detail in self.details:
            status.details.add().Pack(detail)
        return status


def _help(description: str, url: str) -> Message:
    """A google.rpc.Help with one link."""
    detail = Help()
    detail.links.add(description=description, url=url)
    return detail


def invalid(message: str, *details: Message) -> ApiError:
    """INVALID_ARGUMENT with this text."""
    return ApiError(Code.INVALID_ARGUMENT, message, *details)


def unimplemented(what: str) -> ApiError:
    """UNIMPLEMENTED (ours): `what` names the part that is missing, in the plural or as an RPC's name."""
    return ApiError(Code.UNIMPLEMENTED, f"The Headrace queue server does not serve {what}.")


def bad_resource_name() -> ApiError:
    """A parent or name that is not formed as one."""
    return invalid("Invalid resource field value in the request.")


def bad_project(name: str) -> ApiError:
    """A location's name that does not begin with a project: the service takes all of its start for one."""
    project = name.partition("/")[0]
    metadata = {"service": "cloudtasks.googleapis.com", "consumer": f"projects/{project}"}
    return ApiError(
        Code.PERMISSION_DENIED,
        f"Permission denied on resource project {project}.",
        ErrorInfo(reason="CONSUMER_INVALID", domain="googleapis.com", metadata=metadata),
    )


def bad_queue_name() -> ApiError:
    """The queue to create has a name that is not formed as one."""
    return invalid(
        'Queue name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>/queues/<QUEUE_ID>".',
        _help("Definition of queue name", f"{_REFERENCE}#Queue.FIELDS.name"),
    )


def bad_mask(message: str, path: str) -> ApiError:
    """An update mask names a field that the message does not have; `message` is its short name."""
    return invalid(f"Invalid mask for {message}: {path}")


def bad_task_id(task_id: str) -> ApiError:
    """The last segment of a task's name holds a character that it may not, or is too long."""
    return invalid(
        f'Task ID "{task_id}" can contain only letters ([A-Za-z]), numbers ([0-9]), hyphens (-), '
        "or underscores (_). Task ID must between 1 and 500 characters.",
        _help("Definition of task ID", f"{_REFERENCE}.tasks#Task.FIELDS.name"),
    )


def queue_mismatch(requested: str, named: str) -> ApiError:
    """The task's name lies in another queue than the one that the request names."""
    return invalid(
        f"The queue name from request ('{requested}') must be the same as the queue name in the named task ('{named}')."
    )


def queue_exists() -> ApiError:
    """A queue with this name is there already."""
    return ApiError(Code.ALREADY_EXISTS, "Queue already exists")


def queue_existed_recently() -> ApiError:
    """A queue with this name was deleted, and its name is still taken."""
    return ApiError(
        Code.FAILED_PRECONDITION,
        "The queue cannot be created because a queue with this name existed too recently.",
    )


def queue_missing() -> ApiError:
    """No such queue, or one that was deleted recently."""
    return ApiError(
        Code.NOT_FOUND,
        "Queue does not exist. If you just created the queue, wait at least a minute for the queue to initialize.",
    )


def entity_missing() -> ApiError:
    """No such thing, of whatever kind."""
    return ApiError(Code.NOT_FOUND, "Requested entity was not found.")


def task_missing(*, existed_recently: bool = False) -> ApiError:
    """No such task; `existed_recently` when its name is still remembered (GetTask alone tells)."""
    if not existed_recently:
        return entity_missing()
    return ApiError(
        Code.NOT_FOUND,
        "The task no longer exists, though a task with this name existed recently. "
        "The task either successfully completed or was deleted.",
    )


def task_refused(reason: RefusedReason) -> ApiError:
    """The engine made no task."""
    match reason:
        case RefusedReason.QUEUE_MISSING:
            return queue_missing()
        case RefusedReason.EXISTS:
            return ApiError(Code.ALREADY_EXISTS, "Requested entity already exists")
        case RefusedReason.EXISTED_RECENTLY:
            return ApiError(
                Code.ALREADY_EXISTS,
                "The task cannot be created because a task with this name existed too recently. "
                f"For more information about task de-duplication see {_REFERENCE}.tasks/create"
                "#body.request_body.FIELDS.task.",
            )


def bad_page_token(why: str) -> ApiError:
    """A page token (ours) that cannot be gone on with; `why` is a sentence."""
    return invalid(f"Invalid page token. {why}")
