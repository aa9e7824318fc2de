"""The scheduler's jobs as people see and steer them: when each fires, what came of it, and what is done by hand.

Programs have the Cloud Scheduler API for this; what is done here is in the audit. Everything but `job_document`
belongs to the scheduler's event loop.
"""

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple

from headrace.cloud.control.audit import Audit
from headrace.cloud.control.documents import Document
from headrace.cloud.descriptors import Message
from headrace.cloud.scheduler import messages
from headrace.cloud.scheduler.jobs import Jobs
from headrace.cloud.scheduler.messages import METHOD_NAMES, Job
from headrace.schedules import parse_schedule

SHOWN = 5
"""Times of a job that are shown."""
_NEVER = -1


class ListedJob(NamedTuple):
    """A job as Cloud Scheduler shows it, and whether cron.yaml declares it."""

    message: Message
    declared: bool


class Schedules:
    """The jobs of one scheduler, named in full. Every method raises ApiError as the methods of the API do."""

    def __init__(self, jobs: Jobs, audit: Audit) -> None:
        self._jobs = jobs
        self._audit = audit

    def list_jobs(self, *, most: int, after: str = "") -> list[ListedJob]:
        """Up to `most` jobs whose name is behind `after`, by name."""
        return [
            ListedJob(self._jobs.show(name), self._jobs.is_declared(name)) for name in self._jobs.names(after, most)
        ]

    async def get_job(self, name: str) -> ListedJob:
        """One job."""
        return ListedJob(await self._jobs.get_job(messages.GetJobRequest(name=name)), self._jobs.is_declared(name))

    async def run_job(self, name: str, *, actor: str) -> None:
        """Fire it now, in any state."""
        await self.get_job(name)
        await asyncio.gather(
            self._jobs.run_job(messages.RunJobRequest(name=name)), self._audit.record(actor, "run_job", name)
        )

    async def pause_job(self, name: str, *, actor: str) -> None:
        """No firing and no retry until it is resumed."""
        await self._jobs.pause_job(messages.PauseJobRequest(name=name))
        await self._audit.record(actor, "pause_job", name)

    async def resume_job(self, name: str, *, actor: str) -> None:
        """Fire again, from the next time on."""
        await self._jobs.resume_job(messages.ResumeJobRequest(name=name))
        await self._audit.record(actor, "resume_job", name)

    async def edit_job(self, name: str, *, schedule: str, time_zone: str, actor: str) -> None:
        """Give it other times; those of a job of cron.yaml hold until the file is loaded again."""
        before = (await self.get_job(name)).message
        request = messages.UpdateJobRequest()
        request.job.name, request.job.schedule, request.job.time_zone = name, schedule, time_zone
        request.update_mask.paths.extend(("schedule", "time_zone"))
        after = await self._jobs.update_job(request)
        await self._audit.record(actor, "edit_job", name, old=_timing(before), new=_timing(after))


def job_document(listed: ListedJob) -> Document:
    """A job: its times in words and in its zone, its target, its last attempt. Pure, and not cheap: five times."""
    job = listed.message
    schedule = parse_schedule(job.schedule, job.time_zone)
    following: list[datetime] = []
    if job.HasField("schedule_time"):
        first = job.schedule_time.ToDatetime(UTC)
        following = [first, *schedule.times(first, SHOWN - 1)]
    attempted = job.last_attempt_time.ToJsonString() if job.HasField("last_attempt_time") else None
    return {
        "name": job.name,
        "description": job.description,
        "state": Job.State.Name(job.state),
        "schedule": job.schedule,
        "words": schedule.words,
        "timeZone": job.time_zone,
        "declared": listed.declared,
        "target": _target(job),
        "next": [each.astimezone(schedule.zone.info).isoformat() for each in following],
        "lastAttemptTime": attempted,
        "lastStatus": None if job.status.code == _NEVER else {"code": job.status.code, "message": job.status.message},
    }


def _timing(job: Message) -> Document:
    return {"schedule": job.schedule, "timeZone": job.time_zone}


def _target(job: Message) -> str:
    """What a firing sends, in words."""
    match job.WhichOneof("target"):
        case "http_target":
            return f"{METHOD_NAMES[job.http_target.http_method]} {job.http_target.uri}"
        case "app_engine_http_target":
            target = job.app_engine_http_target
            return f"{METHOD_NAMES[target.http_method]} {target.relative_uri}"
        case _:
            return f"publish to {job.pubsub_target.topic_name}"
