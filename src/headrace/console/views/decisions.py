"""Decisions: tasks whose attempt died in between, and nobody knows what it had done."""

from typing import Any

from headrace.console.access import actor
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.errors import NotFound
from headrace.operators.decisions import Decision
from headrace.service.current import operators

PER_PAGE = 100


def register(site: Site) -> None:
    """Add the page of decisions."""
    site.page("/decisions", list_decisions)
    site.action("/decisions/<int:batch_id>/<word>", decide, needs=Permission.DECIDE)


def list_decisions() -> tuple[str, dict[str, Any]]:
    """All that wait, with what is known."""
    return "decisions.html", {"waiting": operators().decisions.list(limit=PER_PAGE)}


def decide(batch_id: int, word: str) -> str:
    """Say what becomes of one."""
    if word not in set(Decision):
        raise NotFound(f"{word} is no decision.", hint="Say resume, redo or skip.")
    operators().decisions.decide(batch_id, Decision(word), actor=actor())
    return "/decisions"
