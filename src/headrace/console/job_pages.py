"""The pages of a queue server about its scheduler's jobs."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import request

from headrace.console.access import actor
from headrace.console.desk import ServerDesk
from headrace.console.queue_rows import Names, Row
from headrace.console.site import Site
from headrace.contract.operations import Permission

PER_PAGE = 50

View = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class JobPages:
    """What is shown of jobs and done to them."""

    desk: ServerDesk
    names: Names

    def register(self, site: Site) -> None:
        """Add them all."""
        site.page("/schedules", self.list_jobs)
        site.page("/schedules/edit", self.show_editor)
        site.action("/schedules/run", self.run, needs=Permission.SEND_SCHEDULE)
        site.action("/schedules/pause", self.pause, needs=Permission.PAUSE)
        site.action("/schedules/resume", self.resume, needs=Permission.PAUSE)
        site.action("/schedules/edit", self.edit, needs=Permission.SETTINGS)

    def list_jobs(self) -> View:
        """All jobs, a page at a time: in words, with their next times and what came of the last attempt."""
        found = self.desk.list_jobs(most=PER_PAGE + 1, after=request.args.get("after", ""))
        more = f"?{urlencode({'after': found[PER_PAGE - 1]['name']})}" if len(found) > PER_PAGE else ""
        return "server_schedules.html", {"jobs": [self._row(each) for each in found[:PER_PAGE]], "more": more}

    def show_editor(self) -> View:
        """One job's schedule and zone, to be changed."""
        job = self.desk.get_job(self.names.full(request.args.get("job", ""), "jobs"))
        return "server_schedule_edit.html", {"job": self._row(job)}

    def run(self) -> str:
        """Fire it now."""
        self.desk.run_job(self._named(), actor=actor())
        return "/schedules"

    def pause(self) -> str:
        """No firing until it is resumed."""
        self.desk.pause_job(self._named(), actor=actor())
        return "/schedules"

    def resume(self) -> str:
        """Fire again, from the next time on."""
        self.desk.resume_job(self._named(), actor=actor())
        return "/schedules"

    def edit(self) -> str:
        """Give it the times of the form."""
        schedule, zone = (request.form.get(name, "").strip() for name in ("schedule", "timezone"))
        self.desk.edit_job(self._named(), schedule=schedule, time_zone=zone, actor=actor())
        return "/schedules"

    def _named(self) -> str:
        return self.names.full(request.form.get("job", ""), "jobs")

    def _row(self, job: Row) -> Row:
        return {
            "job": self.names.short(job["name"]),
            "description": job["description"],
            "state": "active" if job["state"] == "ENABLED" else job["state"].lower().replace("_", " "),
            "schedule": job["schedule"],
            "words": job["words"],
            "timezone": job["timeZone"],
            "declared": job["declared"],
            "target": job["target"],
            "next": job["next"],
            "last_at": job["lastAttemptTime"],
            "last": job["lastStatus"],
        }
