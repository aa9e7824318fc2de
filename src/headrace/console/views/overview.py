"""The overview: how things stand, at a glance."""

from typing import Any

from headrace.console.site import Site
from headrace.service.current import current_service

RUNS_SHOWN = 8


def register(site: Site) -> None:
    """Add the overview."""
    site.page("", show_overview)


def show_overview() -> tuple[str, dict[str, Any]]:
    """Status cards, charts of the last hour, what needs somebody, the newest runs."""
    service = current_service()
    if service.situation is None:
        raise RuntimeError("This service was put together without a situation.")
    late = [each for each in service.schedules.list() if each["state"] == "late"]
    runs = service.reader.list(RUNS_SHOWN, None, None)
    return "overview.html", {"situation": service.situation.now(), "runs": runs, "late": late}
