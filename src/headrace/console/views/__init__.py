"""One module a page, or a family of pages: what it shows and does, by the service's own read models and actions."""

from headrace.console.site import Site
from headrace.console.views import alerts, audit, dead, decisions, overview, queues, runs, schedules, tasks, tokens

_VIEWS = (overview, queues, runs, tasks, dead, decisions, schedules, alerts, audit, tokens)


def register_all(site: Site) -> None:
    """Add every page."""
    for view in _VIEWS:
        view.register(site)
