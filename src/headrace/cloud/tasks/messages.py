"""Messages of Cloud Tasks v2 as raw protobuf classes."""

from headrace.cloud.descriptors import enum_numbers, message_class

_TASKS = "google.cloud.tasks.v2."

Task = message_class(_TASKS + "Task")
Queue = message_class(_TASKS + "Queue")
Attempt = message_class(_TASKS + "Attempt")

CreateTaskRequest = message_class(_TASKS + "CreateTaskRequest")
BatchCreateTasksRequest = message_class(_TASKS + "BatchCreateTasksRequest")
BatchCreateTasksResponse = message_class(_TASKS + "BatchCreateTasksResponse")
BatchCreateTasksMetadata = message_class(_TASKS + "BatchCreateTasksMetadata")
BatchDeleteTasksRequest = message_class(_TASKS + "BatchDeleteTasksRequest")
BatchDeleteTasksMetadata = message_class(_TASKS + "BatchDeleteTasksMetadata")
GetTaskRequest = message_class(_TASKS + "GetTaskRequest")
ListTasksRequest = message_class(_TASKS + "ListTasksRequest")
ListTasksResponse = message_class(_TASKS + "ListTasksResponse")
DeleteTaskRequest = message_class(_TASKS + "DeleteTaskRequest")
RunTaskRequest = message_class(_TASKS + "RunTaskRequest")

CreateQueueRequest = message_class(_TASKS + "CreateQueueRequest")
UpdateQueueRequest = message_class(_TASKS + "UpdateQueueRequest")
DeleteQueueRequest = message_class(_TASKS + "DeleteQueueRequest")
GetQueueRequest = message_class(_TASKS + "GetQueueRequest")
ListQueuesRequest = message_class(_TASKS + "ListQueuesRequest")
ListQueuesResponse = message_class(_TASKS + "ListQueuesResponse")
PauseQueueRequest = message_class(_TASKS + "PauseQueueRequest")
ResumeQueueRequest = message_class(_TASKS + "ResumeQueueRequest")
PurgeQueueRequest = message_class(_TASKS + "PurgeQueueRequest")

CmekConfig = message_class(_TASKS + "CmekConfig")
GetCmekConfigRequest = message_class(_TASKS + "GetCmekConfigRequest")
UpdateCmekConfigRequest = message_class(_TASKS + "UpdateCmekConfigRequest")

BASIC = Task.View.Value("BASIC")
FULL = Task.View.Value("FULL")
METHOD_NUMBERS = enum_numbers(_TASKS + "HttpMethod")
"""HTTP methods and their numbers on the wire; 0, unspecified, is not among them."""
METHOD_NAMES = {number: name for name, number in METHOD_NUMBERS.items()}
