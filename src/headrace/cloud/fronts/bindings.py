"""Where each method stands in REST: the google.api.http annotations of Cloud Tasks v2 and Cloud Scheduler v1.

The client libraries carry them as code; the tests compare this table with theirs.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Binding:
    """One method: its full name, `Service/Method`, HTTP method, path template and body.

    The variables of the template name fields of the request. `body` is "*" for all other fields, the name of the
    one field that the body fills, or "" where there is none. What is left comes from the query.
    """

    rpc: str
    method: str
    template: str
    body: str


TASKS = "google.cloud.tasks.v2.CloudTasks"
SCHEDULER = "google.cloud.scheduler.v1.CloudScheduler"
LOCATIONS = "google.cloud.location.Locations"
OPERATIONS = "google.longrunning.Operations"

_LOCATION = "projects/*/locations/*"
QUEUE = f"{_LOCATION}/queues/*"
_TASK = f"{QUEUE}/tasks/*"
_CMEK = f"{_LOCATION}/cmekConfig"
_JOB = f"{_LOCATION}/jobs/*"

BINDINGS = (
    Binding(f"{TASKS}/ListQueues", "GET", f"/v2/{{parent={_LOCATION}}}/queues", ""),
    Binding(f"{TASKS}/GetQueue", "GET", f"/v2/{{name={QUEUE}}}", ""),
    Binding(f"{TASKS}/CreateQueue", "POST", f"/v2/{{parent={_LOCATION}}}/queues", "queue"),
    Binding(f"{TASKS}/UpdateQueue", "PATCH", f"/v2/{{queue.name={QUEUE}}}", "queue"),
    Binding(f"{TASKS}/DeleteQueue", "DELETE", f"/v2/{{name={QUEUE}}}", ""),
    Binding(f"{TASKS}/PurgeQueue", "POST", f"/v2/{{name={QUEUE}}}:purge", "*"),
    Binding(f"{TASKS}/PauseQueue", "POST", f"/v2/{{name={QUEUE}}}:pause", "*"),
    Binding(f"{TASKS}/ResumeQueue", "POST", f"/v2/{{name={QUEUE}}}:resume", "*"),
    Binding(f"{TASKS}/GetIamPolicy", "POST", f"/v2/{{resource={QUEUE}}}:getIamPolicy", "*"),
    Binding(f"{TASKS}/SetIamPolicy", "POST", f"/v2/{{resource={QUEUE}}}:setIamPolicy", "*"),
    Binding(f"{TASKS}/TestIamPermissions", "POST", f"/v2/{{resource={QUEUE}}}:testIamPermissions", "*"),
    Binding(f"{TASKS}/ListTasks", "GET", f"/v2/{{parent={QUEUE}}}/tasks", ""),
    Binding(f"{TASKS}/GetTask", "GET", f"/v2/{{name={_TASK}}}", ""),
    Binding(f"{TASKS}/CreateTask", "POST", f"/v2/{{parent={QUEUE}}}/tasks", "*"),
    Binding(f"{TASKS}/BatchCreateTasks", "POST", f"/v2/{{parent={QUEUE}}}/tasks:batchCreate", "*"),
    Binding(f"{TASKS}/DeleteTask", "DELETE", f"/v2/{{name={_TASK}}}", ""),
    Binding(f"{TASKS}/BatchDeleteTasks", "POST", f"/v2/{{parent={QUEUE}}}/tasks:batchDelete", "*"),
    Binding(f"{TASKS}/RunTask", "POST", f"/v2/{{name={_TASK}}}:run", "*"),
    Binding(f"{TASKS}/GetCmekConfig", "GET", f"/v2/{{name={_CMEK}}}", ""),
    Binding(f"{TASKS}/UpdateCmekConfig", "PATCH", f"/v2/{{cmek_config.name={_CMEK}}}", "cmek_config"),
    Binding(f"{LOCATIONS}/ListLocations", "GET", "/v2/{name=projects/*}/locations", ""),
    Binding(f"{LOCATIONS}/GetLocation", "GET", f"/v2/{{name={_LOCATION}}}", ""),
    Binding(f"{OPERATIONS}/GetOperation", "GET", f"/v2/{{name={_LOCATION}/operations/*}}", ""),
    Binding(f"{SCHEDULER}/ListJobs", "GET", f"/v1/{{parent={_LOCATION}}}/jobs", ""),
    Binding(f"{SCHEDULER}/GetJob", "GET", f"/v1/{{name={_JOB}}}", ""),
    Binding(f"{SCHEDULER}/CreateJob", "POST", f"/v1/{{parent={_LOCATION}}}/jobs", "job"),
    Binding(f"{SCHEDULER}/UpdateJob", "PATCH", f"/v1/{{job.name={_JOB}}}", "job"),
    Binding(f"{SCHEDULER}/DeleteJob", "DELETE", f"/v1/{{name={_JOB}}}", ""),
    Binding(f"{SCHEDULER}/PauseJob", "POST", f"/v1/{{name={_JOB}}}:pause", "*"),
    Binding(f"{SCHEDULER}/ResumeJob", "POST", f"/v1/{{name={_JOB}}}:resume", "*"),
    Binding(f"{SCHEDULER}/RunJob", "POST", f"/v1/{{name={_JOB}}}:run", "*"),
    Binding(f"{LOCATIONS}/ListLocations", "GET", "/v1/{name=projects/*}/locations", ""),
    Binding(f"{LOCATIONS}/GetLocation", "GET", f"/v1/{{name={_LOCATION}}}", ""),
)
