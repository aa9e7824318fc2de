"""The audit: who did what, and to what."""

from typing import Any
from urllib.parse import urlencode

from flask import request

from headrace.console.ids import read_id
from headrace.console.site import Site
from headrace.database.audit_rows import AuditFilter
from headrace.service.current import operators

PER_PAGE = 100
_SHOWN = 200


def register(site: Site) -> None:
    """Add the page of the audit."""
    site.page("/audit", list_audit)


def list_audit() -> tuple[str, dict[str, Any]]:
    """The newest rows, narrowed by actor, action and object; older ones behind a link."""
    asked = {name: request.args.get(name, "").strip() for name in ("actor", "action", "object")}
    given = {name: value for name, value in asked.items() if value}
    before = read_id(request.args.get("before", ""))
    rows = operators().audit(limit=PER_PAGE, where=AuditFilter(**given, before=before))
    older = urlencode(given | {"before": str(rows[-1]["id"])}) if len(rows) == PER_PAGE else ""
    return "audit.html", {
        "rows": [row | {name: _short(row[name]) for name in ("old", "new")} for row in rows],
        "asked": asked,
        "narrowed": bool(given),
        "before": before,
        "newest": urlencode(given),
        "older": older,
    }


def _short(text: str | None) -> str:
    """What a row can show of a payload or a trace."""
    return "" if text is None else text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
