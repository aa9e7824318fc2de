"""queue.yaml and cron.yaml as queues and cron jobs of the engine."""

import re
from collections import Counter
from urllib.parse import urlsplit

from headrace.cloud.names import queue_name
from headrace.config import CronEntry, CronFile, JobRetry, QueueEntry, QueueFile
from headrace.engine.model import OidcToken, Queue, QueueState, RateLimits, RetryLimits
from headrace.engine.scheduler import CronJob
from headrace.schedules import parse_schedule

NAME_MEMORY = 24 * 3600.0
"""Seconds that the name of a finished task stays taken ("up to 24 hours", Cloud Tasks v2, Task.name)."""
TASK_TTL = 315_360_000.0
"""Seconds that a task may live: ten years, as gcloud sets for the queues of a queue.yaml."""

_NO_RETRY = RetryLimits(max_attempts=1, max_duration=0, min_backoff=0, max_backoff=0, max_doublings=0)
_NOT_IN_A_JOB_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_JOB_NAME = 480


def make_queues(file: QueueFile, project: str, location: str) -> list[Queue]:
    """The queues of a queue.yaml in `projects/<project>/locations/<location>`."""
    return [_make_queue(entry, queue_name(project, location, entry.name)) for entry in file.queues]


def _make_queue(entry: QueueEntry, name: str) -> Queue:
    retry = entry.retry
    return Queue(
        name=name,
        rate=RateLimits(entry.rate_per_second, entry.bucket_size, entry.max_concurrent_requests),
        retry=RetryLimits(
            retry.max_attempts,
            retry.task_age_limit_seconds,
            retry.min_backoff_seconds,
            retry.max_backoff_seconds,
            retry.max_doublings,
        ),
        state=QueueState.RUNNING,
        purged_at=None,
        name_memory=NAME_MEMORY,
        task_ttl=TASK_TTL,
    )


def make_cron_jobs(file: CronFile, service_url: str, service_account: str) -> list[CronJob]:
    """The jobs of a cron.yaml, each a GET of its url under `service_url`.

    Requests carry a token of `service_account` for the audience `service_url`. `target` is not looked at: there
    is one service. A job's name is made from its url; where several jobs share one, a number is added.
    """
    base = service_url.rstrip("/")
    seen: Counter[str] = Counter()
    jobs = []
    for entry in file.entries:
        name = _NOT_IN_A_JOB_NAME.sub("-", urlsplit(entry.url).path.strip("/"))[:_LONGEST_JOB_NAME] or "root"
        seen[name] += 1
        name = name if seen[name] == 1 else f"{name}-{seen[name]}"
        jobs.append(_make_cron_job(entry, name, base, OidcToken(service_account, base)))
    return jobs


def _make_cron_job(entry: CronEntry, name: str, base: str, oidc: OidcToken) -> CronJob:
    return CronJob(
        name=name,
        key=f"cron/{name}/{entry.schedule}/{entry.timezone}",
        url=base + entry.url,
        schedule=parse_schedule(entry.schedule, entry.timezone),
        retry=_make_job_retry(entry.retry),
        oidc=oidc,
    )


def _make_job_retry(retry: JobRetry | None) -> RetryLimits:
    """No limit named means no retry, as Cloud Scheduler's retry_count has it; an age alone retries until then."""
    if retry is None or (retry.job_retry_limit is None and not retry.job_age_limit_seconds):
        return _NO_RETRY
    return RetryLimits(
        max_attempts=-1 if retry.job_retry_limit is None else retry.job_retry_limit + 1,
        max_duration=retry.job_age_limit_seconds,
        min_backoff=retry.min_backoff_seconds,
        max_backoff=retry.max_backoff_seconds,
        max_doublings=retry.max_doublings,
    )
