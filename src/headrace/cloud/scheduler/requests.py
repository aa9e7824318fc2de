"""Jobs as callers give them: checked, completed, and made into what the scheduler takes.

Limits are those of the Cloud Scheduler v1 reference. Recorded texts are those of a bad schedule, a bad mask and
a bad name; the others follow the manner of Cloud Tasks.
"""

import re
from uuid import uuid4

from headrace.cloud.descriptors import Message, set_time
from headrace.cloud.durations import read_duration, seconds_of
from headrace.cloud.errors import invalid
from headrace.cloud.headers import read_headers
from headrace.cloud.masks import copy_field
from headrace.cloud.names import project_of
from headrace.cloud.routing import fill_routing, read_routing
from headrace.cloud.scheduler.messages import METHOD_NAMES, METHOD_NUMBERS, Job
from headrace.cloud.tasks.task_requests import (
    APP_ENGINE_USER_AGENT,
    DEFAULT_SCOPE,
    MAX_URL_LENGTH,
)
from headrace.engine import model
from headrace.engine.address import is_loopback, parse_address
from headrace.engine.errors import TargetUnreachable
from headrace.engine.jobs import DEFAULT_RETRY, JobState, JobTarget, PubsubTarget
from headrace.engine.jobs import Job as EngineJob
from headrace.engine.target import APP_ENGINE_DEADLINE
from headrace.retries import RetryLimits
from headrace.schedules import Schedule, ScheduleError, parse_schedule

MAX_JOB_BYTES = 1 << 20
MAX_DESCRIPTION = 500
MAX_RETRIES = 5
HTTP_DEADLINE = 180.0
"""Seconds that an attempt may take when nothing else is said."""
USER_AGENT = "Google-Cloud-Scheduler"

_OUTPUT_ONLY = ("user_update_time", "state", "status", "schedule_time", "last_attempt_time")
_JOB_NAME = re.compile(r"projects/[A-Za-z0-9:.\-]+/locations/[A-Za-z0-9\-]+/jobs/[A-Za-z0-9_\-]{1,500}")
_TOPIC = re.compile(r"projects/([A-Za-z0-9:.\-]+)/topics/[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
_RELATIVE_URI = re.compile(rf"\S{{1,{MAX_URL_LENGTH}}}")


def check_job_name(name: str) -> str:
    """Give back a job's full name; ApiError when it is not one."""
    if not _JOB_NAME.fullmatch(name):
        raise invalid('Job name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>/jobs/<JOB_ID>".')
    return name


def read_create(request: Message, parent: str) -> Message:
    """The job of a CreateJobRequest in `parent`, a checked location; a job without a name gets one."""
    job = Job()
    job.CopyFrom(request.job)
    job.name = check_job_name(job.name or f"{parent}/jobs/{uuid4()}")
    if not job.name.startswith(f"{parent}/jobs/"):
        raise invalid(f"The job name '{job.name}' must lie in the location of the request, '{parent}'.")
    return complete_job(job)


def read_update(request: Message, stored: Message) -> Message:
    """The stored job with the changes of an UpdateJobRequest; without a mask, all that the request's job has."""
    job = Job()
    job.CopyFrom(stored)
    paths = list(request.update_mask.paths) or [field.name for field, _ in request.job.ListFields()]
    for path in paths:
        if path != "name" and path not in _OUTPUT_ONLY:
            copy_field(request.job, job, path)
    complete_job(job)
    job.state = stored.state
    return job


def complete_job(job: Message) -> Message:
    """Check a job and fill in what the service would, in place; what is output only is cleared."""
    for field in _OUTPUT_ONLY:
        job.ClearField(field)
    job.time_zone = job.time_zone or "UTC"
    _parse_schedule(job)
    if len(job.description) > MAX_DESCRIPTION:
        raise invalid(f"Job.description must be at most {MAX_DESCRIPTION} characters long.")
    _complete_retry(job.retry_config)
    match job.WhichOneof("target"):
        case "http_target":
            _complete_http(job.http_target)
            _check_deadline(job, 1800, "30m")
            if not job.HasField("attempt_deadline"):
                set_time(job.attempt_deadline, HTTP_DEADLINE)
        case "app_engine_http_target":
            _complete_app_engine(job.app_engine_http_target, job.name)
            _check_deadline(job, 86415, "24h15s")
        case "pubsub_target":
            _check_pubsub(job.pubsub_target, project_of(job.name))
        case _:
            raise invalid("Job.target is not set.")
    if job.ByteSize() > MAX_JOB_BYTES:
        raise invalid("Job size too large")
    return job


def make_job(job: Message) -> EngineJob:
    """A completed job as the scheduler takes it."""
    retry = job.retry_config
    deadline = seconds_of(job.attempt_deadline)
    usual = APP_ENGINE_DEADLINE if job.HasField("app_engine_http_target") else HTTP_DEADLINE
    return EngineJob(
        name=job.name,
        schedule=_parse_schedule(job),
        target=_make_target(job),
        retry=RetryLimits(
            max_attempts=retry.retry_count + 1,
            max_duration=seconds_of(retry.max_retry_duration),
            min_backoff=seconds_of(retry.min_backoff_duration),
            max_backoff=seconds_of(retry.max_backoff_duration),
            max_doublings=retry.max_doublings,
        ),
        attempt_deadline=usual if job.HasField("pubsub_target") else deadline or usual,
        state=JobState.PAUSED if job.state == Job.PAUSED else JobState.ENABLED,
    )


def _parse_schedule(job: Message) -> Schedule:
    try:
        return parse_schedule(job.schedule, job.time_zone)
    except ScheduleError as error:
        raise invalid("Schedule or time zone is invalid.") from error


def _complete_retry(retry: Message) -> None:
    """Fill in what is unset; a plain number of 0 is unset, for proto3 does not tell the two apart."""
    if not 0 <= retry.retry_count <= MAX_RETRIES:
        raise invalid(f"RetryConfig.retryCount must be between 0 and {MAX_RETRIES}.")
    if retry.max_doublings < 0:
        raise invalid("RetryConfig.maxDoublings cannot be negative.")
    retry.max_doublings = retry.max_doublings or DEFAULT_RETRY.max_doublings
    for field, shown, default in (
        ("max_retry_duration", "maxRetryDuration", 0),
        ("min_backoff_duration", "minBackoffDuration", DEFAULT_RETRY.min_backoff),
        ("max_backoff_duration", "maxBackoffDuration", DEFAULT_RETRY.max_backoff),
    ):
        duration = getattr(retry, field)
        if not retry.HasField(field):
            duration.SetInParent()
            set_time(duration, default)
        read_duration(duration, f"RetryConfig.{shown}")
    if seconds_of(retry.min_backoff_duration) > seconds_of(retry.max_backoff_duration):
        raise invalid("RetryConfig.minBackoffDuration must be less than or equal to RetryConfig.maxBackoffDuration.")


def _check_deadline(job: Message, longest: int, words: str) -> None:
    """0 is the default of an App Engine target, so it is unset."""
    seconds = seconds_of(job.attempt_deadline)
    if not seconds and job.HasField("app_engine_http_target"):
        job.ClearField("attempt_deadline")
    if job.HasField("attempt_deadline") and not 15 <= seconds <= longest:
        raise invalid(f"Job.attemptDeadline must be between [15s, {words}].")


def _complete_http(target: Message) -> None:
    if not target.uri:
        raise invalid("HttpTarget.uri is required.")
    if not target.uri.startswith(("http://", "https://")):
        raise invalid("HttpTarget.uri must start with 'http://' or 'https://'.")
    if len(target.uri) > MAX_URL_LENGTH:
        raise invalid(f"HttpTarget.uri must be at most {MAX_URL_LENGTH} characters long.")
    try:
        host = parse_address(target.uri).origin.host
    except TargetUnreachable as error:
        raise invalid(f"HttpTarget.uri: {error}") from error
    target.http_method = target.http_method or METHOD_NUMBERS["POST"]
    _check_method("HttpTarget", target, bodies=("POST", "PUT", "PATCH"))
    _complete_headers("HttpTarget", target, USER_AGENT)
    kind = target.WhichOneof("authorization_header")
    if kind is None:
        return
    if not target.uri.startswith("https://") and not is_loopback(host):
        raise invalid("HttpTarget.uri must start with 'https://' for request with HttpTarget.authorization_header")
    if not getattr(target, kind).service_account_email:
        raise invalid(f"{'OidcToken' if kind == 'oidc_token' else 'OAuthToken'}.serviceAccountEmail is required.")
    if kind == "oauth_token":
        target.oauth_token.scope = target.oauth_token.scope or DEFAULT_SCOPE


def _complete_app_engine(target: Message, name: str) -> None:
    target.relative_uri = target.relative_uri or "/"
    if not target.relative_uri.startswith("/"):
        raise invalid("AppEngineHttpTarget.relativeUri must start with '/'.")
    if not _RELATIVE_URI.fullmatch(target.relative_uri):
        raise invalid(
            f"AppEngineHttpTarget.relativeUri must be at most {MAX_URL_LENGTH} characters long, without spaces."
        )
    target.http_method = target.http_method or METHOD_NUMBERS["POST"]
    if METHOD_NAMES.get(target.http_method) in ("PATCH", "OPTIONS"):
        raise invalid("AppEngineHttpTarget.httpMethod cannot be PATCH or OPTIONS.")
    _check_method("AppEngineHttpTarget", target, bodies=("POST", "PUT"))
    own = next((value for key, value in target.headers.items() if key.lower() == "user-agent"), "")
    agent = own if own.endswith(APP_ENGINE_USER_AGENT) else f"{own} {APP_ENGINE_USER_AGENT}".lstrip()
    _complete_headers("AppEngineHttpTarget", target, agent)
    fill_routing(target.app_engine_routing, read_routing(target.app_engine_routing), name)


def _check_method(what: str, target: Message, bodies: tuple[str, ...]) -> None:
    method = METHOD_NAMES.get(target.http_method)
    if method is None:
        raise invalid(f"{what}.httpMethod {target.http_method} is not known.")
    if target.body and method not in bodies:
        raise invalid(f"{what}.body cannot be set for HTTP method {method}.")


def _complete_headers(what: str, target: Message, agent: str) -> None:
    """Keep what can be sent, with the defaults that the service adds."""
    pairs = read_headers(target.headers, f"{what}.headers")
    for name, _ in pairs:
        if name.lower() == "user-agent":
            del target.headers[name]
    target.headers["User-Agent"] = agent
    if target.body and not any(name.lower() == "content-type" for name, _ in pairs):
        target.headers["Content-Type"] = "application/octet-stream"


def _check_pubsub(target: Message, project: str) -> None:
    topic = _TOPIC.fullmatch(target.topic_name)
    if topic is None:
        raise invalid('PubsubTarget.topicName must be formatted: "projects/<PROJECT_ID>/topics/<TOPIC_ID>".')
    if topic[1] != project:
        raise invalid("PubsubTarget.topicName must be in the same project as the job.")
    if not target.data and not target.attributes:
        raise invalid("Pubsub message must contain either non-empty data, or at least one attribute.")


def _make_target(job: Message) -> JobTarget:
    if job.HasField("pubsub_target"):
        pubsub = job.pubsub_target
        return PubsubTarget(pubsub.topic_name, pubsub.data, tuple(sorted(pubsub.attributes.items())))
    if job.HasField("app_engine_http_target"):
        target = job.app_engine_http_target
        return model.AppEngineTarget(
            relative_uri=target.relative_uri,
            method=METHOD_NAMES[target.http_method],
            headers=tuple(sorted(target.headers.items())),
            body=target.body,
            routing=read_routing(target.app_engine_routing),
        )
    target = job.http_target
    return model.HttpTarget(
        url=target.uri,
        method=METHOD_NAMES[target.http_method],
        headers=tuple(sorted(target.headers.items())),
        body=target.body,
        authorization=_make_authorization(target),
    )


def _make_authorization(target: Message) -> model.Authorization | None:
    match target.WhichOneof("authorization_header"):
        case "oidc_token":
            return model.OidcToken(target.oidc_token.service_account_email, target.oidc_token.audience)
        case "oauth_token":
            return model.OAuthToken(target.oauth_token.service_account_email, target.oauth_token.scope)
        case _:
            return None
