"""queue.yaml as queues of the engine, and cron.yaml as jobs."""

import re
from collections import Counter
from urllib.parse import urlsplit

from headrace.cloud.descriptors import Message, set_time
from headrace.cloud.names import queue_name
from headrace.cloud.scheduler.messages import METHOD_NUMBERS, Job
from headrace.cloud.scheduler.requests import complete_job
from headrace.config import CronEntry, CronFile, JobRetry, QueueEntry, QueueFile
from headrace.engine.model import AppEngineRouting, Queue, QueueState, RateLimits

TASK_TTL = 315_360_000.0
"""Seconds that a task may live: ten years, as gcloud sets for the queues of a queue.yaml."""

_NOT_IN_A_JOB_ID = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_JOB_ID = 480


def make_queues(file: QueueFile, project: str, location: str, name_memory: float) -> list[Queue]:
    """The queues of a queue.yaml in `projects/<project>/locations/<location>`.

    The names of their finished tasks stay taken for `name_memory` seconds.
    """
    return [make_queue(entry, queue_name(project, location, entry.name), name_memory) for entry in file.queues]


def make_queue(entry: QueueEntry, name: str, name_memory: float) -> Queue:
    """One entry of a queue.yaml as the queue of this full name."""
    return Queue(
        name=name,
        rate=RateLimits(entry.rate_per_second, entry.bucket_size, entry.max_concurrent_requests),
        retry=entry.retry.limits,
        state=QueueState.RUNNING,
        purged_at=None,
        name_memory=name_memory,
        task_ttl=TASK_TTL,
        routing=_make_routing(entry.target),
    )


def _make_routing(target: str | None) -> AppEngineRouting | None:
    """`[version.]service` as App Engine's routing."""
    if target is None:
        return None
    version, _, service = target.rpartition(".")
    return AppEngineRouting(service, version, "")


def make_cron_jobs(file: CronFile, project: str, location: str) -> list[Message]:
    """The jobs of a cron.yaml in `projects/<project>/locations/<location>`, as Cloud Scheduler messages, complete.

    Each is a GET of an App Engine target, as gcloud makes them. A job's id is made from its url; where several
    jobs share one, a number is added.
    """
    seen: Counter[str] = Counter()
    jobs = []
    for entry in file.entries:
        job_id = _NOT_IN_A_JOB_ID.sub("-", urlsplit(entry.url).path.strip("/"))[:_LONGEST_JOB_ID] or "root"
        seen[job_id] += 1
        job_id = job_id if seen[job_id] == 1 else f"{job_id}-{seen[job_id]}"
        jobs.append(_make_cron_job(entry, f"projects/{project}/locations/{location}/jobs/{job_id}"))
    return jobs


def _make_cron_job(entry: CronEntry, name: str) -> Message:
    job = Job(name=name, description=entry.description, schedule=entry.schedule, time_zone=entry.timezone)
    target = job.app_engine_http_target
    target.http_method = METHOD_NUMBERS["GET"]
    target.relative_uri = entry.url
    if entry.target is not None:
        service, _, version = entry.target.partition(":")
        target.app_engine_routing.service = service
        target.app_engine_routing.version = version
    if entry.retry is not None:
        _fill_job_retry(job.retry_config, entry.retry)
    return complete_job(job)


def _fill_job_retry(config: Message, retry: JobRetry) -> None:
    config.retry_count = retry.job_retry_limit or 0
    config.max_doublings = retry.max_doublings
    set_time(config.max_retry_duration, retry.job_age_limit_seconds)
    set_time(config.min_backoff_duration, retry.min_backoff_seconds)
    set_time(config.max_backoff_duration, retry.max_backoff_seconds)
