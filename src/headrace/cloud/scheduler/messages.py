"""Messages of Cloud Scheduler v1 as raw protobuf classes."""

from headrace.cloud.descriptors import enum_numbers, message_class

_SCHEDULER = "google.cloud.scheduler.v1."

Job = message_class(_SCHEDULER + "Job")

CreateJobRequest = message_class(_SCHEDULER + "CreateJobRequest")
UpdateJobRequest = message_class(_SCHEDULER + "UpdateJobRequest")
GetJobRequest = message_class(_SCHEDULER + "GetJobRequest")
ListJobsRequest = message_class(_SCHEDULER + "ListJobsRequest")
ListJobsResponse = message_class(_SCHEDULER + "ListJobsResponse")
DeleteJobRequest = message_class(_SCHEDULER + "DeleteJobRequest")
PauseJobRequest = message_class(_SCHEDULER + "PauseJobRequest")
ResumeJobRequest = message_class(_SCHEDULER + "ResumeJobRequest")
RunJobRequest = message_class(_SCHEDULER + "RunJobRequest")

METHOD_NUMBERS = enum_numbers(_SCHEDULER + "HttpMethod")
"""HTTP methods and their numbers on the wire; 0, unspecified, is not among them."""
METHOD_NAMES = {number: name for name, number in METHOD_NUMBERS.items()}
