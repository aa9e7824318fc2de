"""Tokens of operators: who may come in, and what each may do."""

from typing import Any

from flask import request

from headrace.console.access import actor
from headrace.console.site import Site
from headrace.contract.operations import Permission
from headrace.service.tokens import tokens_of_service

PER_PAGE = 100
PERMISSIONS = {
    Permission.READ: "see everything: pages, lists, metrics",
    Permission.SEND_SCHEDULE: "start a job now",
    Permission.RETRY_TASK: "try dead tasks again, also with another payload; run one that waits now",
    Permission.CANCEL: "cancel runs, and tasks that wait",
    Permission.DECIDE: "say what becomes of a task that died amid an effect",
    Permission.PAUSE: "pause and resume queues and schedules",
    Permission.PURGE: "discard dead tasks, and what waits on a queue",
    Permission.SETTINGS: "set schedules, limits of queues and settings over the files",
    Permission.ACKNOWLEDGE: "acknowledge alerts",
    Permission.ADMIN: "everything, and issue and revoke tokens",
}
"""What each allows, in words."""


def register(site: Site) -> None:
    """Add the page of tokens."""
    site.page("/tokens", list_tokens, needs=Permission.ADMIN)
    site.action("/tokens/issue", issue_token, needs=Permission.ADMIN)
    site.action("/tokens/<int:token_id>/revoke", revoke_token, needs=Permission.ADMIN)


def list_tokens() -> tuple[str, dict[str, Any]]:
    """Tokens, those that are live first, and a form for one more."""
    tokens = tokens_of_service().list(limit=PER_PAGE)
    return "tokens.html", {"tokens": tokens, "permissions": PERMISSIONS, "limit": PER_PAGE}


def issue_token() -> tuple[str, dict[str, Any]]:
    """Issue one, and show it, once."""
    name, permissions = request.form.get("name", "").strip(), request.form.getlist("permissions")
    return "token.html", {"issued": tokens_of_service().issue(name, permissions, actor=actor())}


def revoke_token(token_id: int) -> str:
    """End one."""
    tokens_of_service().revoke(token_id, actor=actor())
    return "/tokens"
