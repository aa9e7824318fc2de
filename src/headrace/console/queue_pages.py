"""The pages of a queue server about queues and their tasks, and its audit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import request

from headrace.clock import Clock
from headrace.console.access import actor
from headrace.console.desk import ServerDesk
from headrace.console.limits import read_limits
from headrace.console.queue_rows import (
    Names,
    Row,
    audit_row,
    delivery_row,
    limits_request,
    queue_row,
    task_row,
)
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.errors import HeadraceError, NotFound

PER_PAGE = 100
TASKS = 50
DELIVERIES = 10

View = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class QueuePages:
    """What is shown of queues and done to them. `is_missing` tells whether an error says that nothing is there."""

    desk: ServerDesk
    clock: Clock
    names: Names
    is_missing: Callable[[HeadraceError], bool]

    def register(self, site: Site) -> None:
        """Add them all."""
        site.page("/queues", self.list_queues)
        site.page("/queues/<queue>", self.show_queue)
        site.page("/queues/<queue>/limits", self.show_limits)
        site.page("/queues/<queue>/tasks/<task>", self.show_task)
        site.page("/audit", self.show_audit)
        site.action("/queues/<queue>/pause", self.pause, needs=Permission.PAUSE)
        site.action("/queues/<queue>/resume", self.resume, needs=Permission.PAUSE)
        site.action("/queues/<queue>/purge", self.purge, needs=Permission.PURGE)
        site.action("/queues/<queue>/limits", self.limit, needs=Permission.SETTINGS)
        site.action("/queues/<queue>/limits/give-back", self.give_back, needs=Permission.SETTINGS)
        site.action("/queues/<queue>/tasks/<task>/run", self.run_task, needs=Permission.RETRY_TASK)
        site.action("/queues/<queue>/tasks/<task>/delete", self.delete_task, needs=Permission.PURGE)

    # What is shown.

    def list_queues(self) -> View:
        """All queues, a page at a time, those alone whose name has what is searched for."""
        after, part = request.args.get("after", ""), request.args.get("q", "").strip()
        found = self.desk.list_queues(chart=True, most=PER_PAGE + 1, after=after, part=part)
        last = found[PER_PAGE - 1]["name"] if len(found) > PER_PAGE else ""
        more = f"?{urlencode({'after': last, 'q': part})}" if last else ""
        return "queues.html", {"queues": [self._row(each) for each in found[:PER_PAGE]], "more": more, "part": part}

    def show_queue(self, queue: str) -> View:
        """One queue: its limits, the tasks that come next or all of them, its latest deliveries."""
        name = self._full(queue)
        document = self.desk.get_queue(name, chart=True)
        if request.args.get("order") == "created":
            page = self.desk.list_tasks(name, most=TASKS, token=request.args.get("page", ""))
            order, others = "the oldest first", [("", "First in line")]
            if token := page.get("nextPageToken"):
                others.append((f"?{urlencode({'order': 'created', 'page': token})}", "Newer ones"))
        else:
            page = self.desk.list_line(name, most=TASKS)
            order, others = "the first in line", [("?order=created", "All, the oldest first")]
        deliveries = self.desk.list_deliveries(name, most=DELIVERIES)
        return "queue.html", {
            "queue": self._row(document),
            "tasks": [task_row(each) for each in page["tasks"]],
            "order": order,
            "others": others if document["pending"] else [],
            "deliveries": [delivery_row(each) for each in deliveries],
        }

    def show_limits(self, queue: str) -> View:
        """One queue's limits, to be changed."""
        return "queue_limits.html", {"queue": self._row(self.desk.get_queue(self._full(queue)))}

    def show_task(self, queue: str, task: str) -> View:
        """One task; of one that has ended, what its deliveries tell."""
        name = self._full(queue)
        document = self.desk.get_queue(name)
        try:
            stored: Row | None = task_row(self.desk.get_task(name, task))
        except HeadraceError as error:
            if not self.is_missing(error):
                raise
            stored = None
        deliveries = [delivery_row(each) for each in self.desk.list_deliveries(name, most=PER_PAGE, task=task)]
        if stored is None and not deliveries:
            raise NotFound("There is no such task.", hint="It has ended, and its deliveries are not kept any more.")
        values = {"queue": self._row(document), "name": task, "task": stored, "deliveries": deliveries}
        return "queue_task.html", values

    def show_audit(self) -> View:
        """What was done by hand, the newest first."""
        entries = [audit_row(each, self.names) for each in self.desk.list_audit(PER_PAGE)]
        return "server_audit.html", {"entries": entries, "limit": PER_PAGE}

    # What is done.

    def pause(self, queue: str) -> str:
        """Push nothing more by itself."""
        self.desk.pause_queue(self._full(queue), actor=actor())
        return f"/queues/{queue}"

    def resume(self, queue: str) -> str:
        """Push again."""
        self.desk.resume_queue(self._full(queue), actor=actor())
        return f"/queues/{queue}"

    def purge(self, queue: str) -> str:
        """Drop all tasks that are there now."""
        self.desk.purge_queue(self._full(queue), actor=actor())
        return f"/queues/{queue}"

    def limit(self, queue: str) -> str:
        """Put the limits of the form in force."""
        if changed := read_limits(request.form):
            self.desk.limit_queue(self._full(queue), limits_request(changed), actor=actor())
        return f"/queues/{queue}"

    def give_back(self, queue: str) -> str:
        """Put the file's limits in force."""
        self.desk.give_back_limits(self._full(queue), actor=actor())
        return f"/queues/{queue}"

    def run_task(self, queue: str, task: str) -> str:
        """Push it now, and show it."""
        self.desk.run_task(self._full(queue), task, actor=actor())
        return f"/queues/{queue}/tasks/{task}"

    def delete_task(self, queue: str, task: str) -> str:
        """Drop it, and show its queue."""
        self.desk.delete_task(self._full(queue), task, actor=actor())
        return f"/queues/{queue}"

    def _full(self, queue: str) -> str:
        return self.names.full(queue, "queues")

    def _row(self, document: Row) -> Row:
        return queue_row(document, self.names, self.clock.now())
