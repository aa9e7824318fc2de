"""Runs, and one run."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import request

from headrace.console.access import actor
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.errors import NotFound
from headrace.service.current import current_service, operators

PER_PAGE = 50
CELLS = 500
_STATES = ("queued", "splitting", "running", "cancelling", "completed", "failed", "cancelled", "skipped")


def register(site: Site) -> None:
    """Add the pages of runs."""
    site.page("/runs", list_runs)
    site.page("/runs/<run_id>", show_run)
    site.action("/runs/<run_id>/cancel", cancel_run, needs=Permission.CANCEL)
    site.action("/runs/<run_id>/retry", retry_run, needs=Permission.RETRY_TASK)


def list_runs() -> tuple[str, dict[str, Any]]:
    """The newest runs, narrowed by job and state."""
    service = current_service()
    job = request.args.get("job", "").strip()
    state = request.args.get("state", "")
    state = state if state in _STATES else ""
    about = request.args.get("object", "").strip()
    runs = service.reader.list(PER_PAGE, job or None, state or None, about or None)
    jobs = [each.operation_id for each in service.contract.operations if each.job or each.task]
    now = service.clock.now()
    return "runs.html", {
        "runs": runs,
        "left": {run["run_id"]: time_left(run, now) for run in runs},
        "job": job,
        "state": state,
        "object": about,
        "states": _STATES,
        "jobs": jobs,
        "limit": PER_PAGE,
    }


def show_run(run_id: str) -> tuple[str, dict[str, Any]]:
    """One run: its steps as bars in time, its tasks as a grid, what failed."""
    service = current_service()
    run = service.reader.show(run_id)
    if run is None:
        raise NotFound("There is no such run.", hint="It may have been purged.")
    now = service.clock.now()
    tasks = operators().batches.of_run(run_id, limit=CELLS)
    return "run.html", {"run": run, "tasks": tasks, "bars": step_bars(run, now), "left": time_left(run, now)}


def cancel_run(run_id: str) -> str:
    """Cancel it, and go back to it."""
    operators().cancelling.cancel(run_id, reason=request.form.get("reason", ""), actor=actor())
    return f"/runs/{run_id}"


def retry_run(run_id: str) -> str:
    """Try all of its dead batches again, and go back to it."""
    operators().dead_letters.retry_run(run_id, actor=actor())
    return f"/runs/{run_id}"


def step_bars(run: Mapping[str, Any], now: float) -> list[dict[str, float]]:
    """Where each step's bar begins, and how long it is: shares of the run's time until its end, or now. Pure."""
    begun = _seconds(run["started_at"])
    length = max(0.001, (_seconds(run["ended_at"]) if run["ended_at"] else now) - begun)
    bars = []
    for step in run["steps"]:
        left = min(1.0, max(0.0, (_seconds(step["started_at"]) - begun) / length))
        right = min(1.0, ((_seconds(step["ended_at"]) if step["ended_at"] else now) - begun) / length)
        bars.append({"left": left, "width": max(0.005, right - left)})
    return bars


def time_left(run: Mapping[str, Any], now: float) -> float | None:
    """Seconds until the tasks that are written will have ended, at the pace so far; None where it cannot be told."""
    if run["ended_at"] is not None or not 0 < run["progress"] < 1:
        return None
    passed = now - _seconds(run["started_at"])
    return float(passed / run["progress"] * (1 - run["progress"]))


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
