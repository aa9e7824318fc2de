"""One module a page, or a family of pages: what it shows and does, by the service's own read models and actions."""

from headrace.console.site import Site
from headrace.console.views import (
    alerts,
    dead,
    decisions,
    overview,
    runs,
    schedules,
    settings,
    task_list,
    tasks,
    workers,
)

_VIEWS = (overview, runs, task_list, tasks, dead, decisions, schedules, alerts, workers, settings)


def register_all(site: Site) -> None:
    """Add every page."""
    for view in _VIEWS:
        view.register(site)
