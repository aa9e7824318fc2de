"""Cloud Scheduler v1: the methods on jobs.

A job is kept as the message that shows it, without what the scheduler knows. Jobs of cron.yaml are jobs like any
other, App Engine targets as gcloud makes them, and are kept apart: what the file says of them wins at each load,
their state stays, and one that has left the file is gone.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from heapq import nsmallest
from typing import Any, TypeVar

from headrace.clock import Clock
from headrace.cloud import names
from headrace.cloud.descriptors import Empty, Message, set_time
from headrace.cloud.documents import Documents
from headrace.cloud.errors import ApiError, Code
from headrace.cloud.pages import page_size, read_token, write_token
from headrace.cloud.scheduler import messages as messages
from headrace.cloud.scheduler.answers import job_message
from headrace.cloud.scheduler.messages import Job
from headrace.cloud.scheduler.requests import check_job_name, make_job, read_create, read_update
from headrace.cloud.services import Rpc
from headrace.engine.jobs import Job as EngineJob
from headrace.engine.scheduler import Scheduler
from headrace.engine.store.interface import Store

MAX_JOBS_PAGE = 500

T = TypeVar("T")


class Jobs:
    """The jobs of one scheduler. `rpcs` holds the methods, by name; `may_reach` says which targets they may give."""

    def __init__(
        self, scheduler: Scheduler, store: Store, clock: Clock, may_reach: Callable[[EngineJob], bool]
    ) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._may_reach = may_reach
        self._created = Documents(store, "job")
        self._declared = Documents(store, "cron job")
        # A change reads before it writes, and has told the scheduler before the next one begins.
        self._changing = asyncio.Lock()
        self.rpcs: dict[str, Rpc] = {
            "CreateJob": Rpc(messages.CreateJobRequest, self.create_job),
            "UpdateJob": Rpc(messages.UpdateJobRequest, self.update_job),
            "GetJob": Rpc(messages.GetJobRequest, self.get_job),
            "ListJobs": Rpc(messages.ListJobsRequest, self.list_jobs),
            "DeleteJob": Rpc(messages.DeleteJobRequest, self.delete_job),
            "PauseJob": Rpc(messages.PauseJobRequest, self.pause_job),
            "ResumeJob": Rpc(messages.ResumeJobRequest, self.resume_job),
            "RunJob": Rpc(messages.RunJobRequest, self.run_job),
        }

    async def open(self, declared: Sequence[Message]) -> None:
        """Read what an earlier process kept, and take up cron.yaml. Once, before the scheduler starts."""
        await asyncio.gather(self._created.load(), self._declared.load(), self._scheduler.load())
        kept = filter(None, map(self._created.get, self._created))
        await asyncio.gather(*(self._scheduler.put(make_job(Job.FromString(job))) for job in kept))
        await self._load(declared)

    async def load(self, declared: Sequence[Message]) -> None:
        """Take up cron.yaml as it stands now; `declared` are its jobs, complete."""
        await self._alone(self._load(declared))

    async def reset(self, declared: Sequence[Message]) -> None:
        """Forget all jobs and what they have done, and take up cron.yaml afresh."""
        await self._alone(self._reset(declared))

    async def create_job(self, request: Message) -> Message:
        """Create a job; it is on disk before the answer."""
        job = read_create(request, names.check_location(request.parent))
        return await self._alone(self._create(job))

    async def update_job(self, request: Message) -> Message:
        """Change a job. A new schedule counts from now; a paused job stays paused."""
        return await self._alone(self._update(request))

    async def get_job(self, request: Message) -> Message:
        """One job, with its next time and its last attempt."""
        return self._show(self._read(check_job_name(request.name)))

    async def list_jobs(self, request: Message) -> Message:
        """A page of a location's jobs, by name."""
        location = names.check_location(request.parent)
        size, now = page_size(request.page_size, MAX_JOBS_PAGE), self._clock.now()
        after = read_token(request.page_token, location, now)
        prefix = f"{location}/jobs/"
        found = sorted(name for name in self._names() if name.startswith(prefix) and name > after)
        answer = messages.ListJobsResponse(jobs=[self._show(self._read(name)) for name in found[:size]])
        if len(found) > size:
            answer.next_page_token = write_token(found[size - 1], location, now)
        return answer

    async def delete_job(self, request: Message) -> Message:
        """Delete a job; a request under way goes on and counts no more."""
        await self._alone(self._delete(check_job_name(request.name)))
        return Empty()

    async def pause_job(self, request: Message) -> Message:
        """Let an enabled job rest: no firing, no retry."""
        return await self._alone(self._set_state(check_job_name(request.name), Job.ENABLED, Job.PAUSED, "PauseJob"))

    async def resume_job(self, request: Message) -> Message:
        """Let a paused job fire again, at its next time from now on."""
        return await self._alone(self._set_state(check_job_name(request.name), Job.PAUSED, Job.ENABLED, "ResumeJob"))

    async def run_job(self, request: Message) -> Message:
        """Fire a job now, in any state, even while it is running; that is on disk before the answer."""
        name = self._read(check_job_name(request.name)).name
        await self._scheduler.run(name)
        return self._show(self._read(name))

    def names(self, after: str, most: int) -> list[str]:
        """Up to `most` names of jobs behind `after`, of all locations, in order."""
        return nsmallest(most, (name for name in self._names() if name > after))

    def show(self, name: str) -> Message:
        """One job, as GetJob answers."""
        return self._show(self._read(name))

    def is_declared(self, name: str) -> bool:
        """Whether cron.yaml has the job."""
        return self._declared.get(name) is not None

    # Changes, one at a time.

    async def _alone(self, change: Coroutine[Any, Any, T]) -> T:
        """Make a change with no other one in between, and to its end even when its caller leaves."""

        async def make() -> T:
            async with self._changing:
                return await change

        return await asyncio.shield(asyncio.create_task(make()))

    async def _create(self, job: Message) -> Message:
        if job.name in self._names():
            raise ApiError(Code.ALREADY_EXISTS, f"Job {job.name} already exists.")
        self._check_reach(job)
        job.state = Job.ENABLED
        set_time(job.user_update_time, self._clock.now())
        return await self._keep(self._created, job)

    async def _update(self, request: Message) -> Message:
        job = read_update(request, self._read(check_job_name(request.job.name)))
        self._check_reach(job)
        set_time(job.user_update_time, self._clock.now())
        return await self._keep(self._home(job.name), job)

    def _check_reach(self, job: Message) -> None:
        if not self._may_reach(make_job(job)):
            raise ApiError(
                Code.PERMISSION_DENIED,
                "This server may not reach the job's target. Start it with --allow-target for the target's host.",
            )

    async def _set_state(self, name: str, before: int, after: int, method: str) -> Message:
        job = self._read(name)
        if job.state != before:
            word = Job.State.Name(before)
            raise ApiError(Code.FAILED_PRECONDITION, f"Job.state must be {word} for {method} request.")
        job.state = after
        return await self._keep(self._home(name), job)

    async def _delete(self, name: str) -> None:
        self._read(name)
        await self._forget(self._home(name), name)

    async def _reset(self, declared: Sequence[Message]) -> None:
        await asyncio.gather(*(self._delete(name) for name in self._names()))
        await self._load(declared)

    async def _load(self, declared: Sequence[Message]) -> None:
        named = {job.name for job in declared}
        gone = [name for name in self._declared if name not in named]
        # A name that the API gave to another job is the file's from now on.
        taken = [name for name in self._created if name in named]
        await asyncio.gather(
            *(self._forget(self._declared, name) for name in gone),
            *(self._forget(self._created, name) for name in taken),
        )
        await asyncio.gather(*(self._declare(job) for job in declared))

    async def _declare(self, declared: Message) -> None:
        job = Job()
        job.CopyFrom(declared)
        job.state = Job.ENABLED
        kept = self._declared.get(job.name)
        if kept is not None:
            before = Job.FromString(kept)
            job.state = before.state
            job.user_update_time.CopyFrom(before.user_update_time)
            if job == before:
                await self._scheduler.put(make_job(job))
                return
        set_time(job.user_update_time, self._clock.now())
        await self._keep(self._declared, job)

    async def _keep(self, home: Documents, job: Message) -> Message:
        """Write a job, then let the scheduler know, and show it."""
        await home.put(job.name, job.SerializeToString())
        await self._scheduler.put(make_job(job))
        return self._show(job)

    async def _forget(self, home: Documents, name: str) -> None:
        await home.remove(name)
        await self._scheduler.remove(name)

    # Reads. A job is there once it is on disk and the scheduler has it.

    def _names(self) -> set[str]:
        return {name for name in (*self._created, *self._declared) if name in self._scheduler}

    def _home(self, name: str) -> Documents:
        return self._created if self._declared.get(name) is None else self._declared

    def _read(self, name: str) -> Message:
        document = self._home(name).get(name)
        if document is None or name not in self._scheduler:
            raise ApiError(Code.NOT_FOUND, "Job not found.")
        return Job.FromString(document)

    def _show(self, job: Message) -> Message:
        return job_message(job, self._scheduler.progress(job.name), self._clock.now())
