"""One module a page, or a family of pages: what it shows and does, by the service's own read models and actions."""

from headrace.console.site import Site
from headrace.console.views import (
    alerts,
    audit,
    dead,
    decisions,
    overview,
    queues,
    runs,
    schedules,
    settings,
    task_list,
    tasks,
    tokens,
    workers,
)

_VIEWS = (
    *(overview, queues, runs, task_list, tasks, dead, decisions, schedules, alerts),
    *(workers, settings, audit, tokens),
)


def register_all(site: Site) -> None:
    """Add every page."""
    for view in _VIEWS:
        view.register(site)
