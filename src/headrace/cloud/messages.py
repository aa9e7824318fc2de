"""Cloud Tasks v2 messages as raw protobuf classes.

They come from descriptors that are shipped as data and live in a pool of their own. So the server starts
without the client library, pays nothing for proto-plus, and a process that has both (a test) has no conflict.
`tools/cloud_descriptors.py` writes the data file.
"""

from importlib import resources
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message: TypeAlias = Any
"""An instance of one of the classes below; protobuf makes the classes at run time, so no type says more."""

_TASKS = "google.cloud.tasks.v2."


def _load_pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    data = resources.files(__package__).joinpath("tasks_v2.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


_POOL = _load_pool()


def _message_class(full_name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))


Task = _message_class(_TASKS + "Task")
Queue = _message_class(_TASKS + "Queue")
Attempt = _message_class(_TASKS + "Attempt")

CreateTaskRequest = _message_class(_TASKS + "CreateTaskRequest")
BatchCreateTasksRequest = _message_class(_TASKS + "BatchCreateTasksRequest")
BatchCreateTasksResponse = _message_class(_TASKS + "BatchCreateTasksResponse")
BatchCreateTasksMetadata = _message_class(_TASKS + "BatchCreateTasksMetadata")
GetTaskRequest = _message_class(_TASKS + "GetTaskRequest")
ListTasksRequest = _message_class(_TASKS + "ListTasksRequest")
ListTasksResponse = _message_class(_TASKS + "ListTasksResponse")
DeleteTaskRequest = _message_class(_TASKS + "DeleteTaskRequest")
RunTaskRequest = _message_class(_TASKS + "RunTaskRequest")

GetQueueRequest = _message_class(_TASKS + "GetQueueRequest")
ListQueuesRequest = _message_class(_TASKS + "ListQueuesRequest")
ListQueuesResponse = _message_class(_TASKS + "ListQueuesResponse")
PauseQueueRequest = _message_class(_TASKS + "PauseQueueRequest")
ResumeQueueRequest = _message_class(_TASKS + "ResumeQueueRequest")
PurgeQueueRequest = _message_class(_TASKS + "PurgeQueueRequest")

Empty = _message_class("google.protobuf.Empty")
Operation = _message_class("google.longrunning.Operation")
Status = _message_class("google.rpc.Status")
Help = _message_class("google.rpc.Help")

BASIC = Task.View.Value("BASIC")
FULL = Task.View.Value("FULL")
METHOD_NUMBERS: dict[str, int] = {
    value.name: value.number for value in _POOL.FindEnumTypeByName(_TASKS + "HttpMethod").values if value.number
}
"""HTTP methods and their numbers on the wire; 0, unspecified, is not among them."""
METHOD_NAMES = {number: name for name, number in METHOD_NUMBERS.items()}
