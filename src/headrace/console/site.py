"""A console: its pages, what shows and what acts, and how it is put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Response, g, redirect, request, send_from_directory
from flask.globals import request_ctx
from werkzeug.wrappers import Response as AnyResponse

from headrace.clock import Clock
from headrace.console.access import Access, harden, session
from headrace.console.recent import Recent
from headrace.console.rendering import STATIC, Renderer
from headrace.console.sessions import Session
from headrace.contract.operations import Permission
from headrace.errors import Forbidden, RequestError

BASE = "/console"
RECENT = 2.0
"""Seconds that a live update may be old; a page that somebody opens is read anew."""
_YEAR = 31_536_000

View = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the navigation: its path below the console, its title, and the key that leads to it.

    It stands there for those who have the permission that `needs` says.
    """

    path: str
    title: str
    key: str
    needs: Permission = Permission.READ


@dataclass(frozen=True, slots=True)
class Site:
    """What views are made with: a blueprint to register, a renderer, who may come in, and the navigation.

    `needs` has the permission of each page and action, by its endpoint.
    """

    blueprint: Blueprint
    renderer: Renderer
    access: Access
    clock: Clock
    pages: Sequence[Page]
    recent: Recent = field(default_factory=lambda: Recent(RECENT))
    needs: dict[str, Permission] = field(default_factory=dict)

    def page(self, rule: str, view: View, *, needs: Permission = Permission.READ) -> None:
        """Show, at GET `rule`, the template and values that `view` returns, to those who have the permission.

        A view may lead elsewhere, too, by returning a redirect.
        """

        def show(**parts: Any) -> AnyResponse:
            try:
                self.access.require(needs)
            except Forbidden as error:
                return self._refuse(error)
            shown = self.recent.get(request.full_path, lambda: view(**parts)) if _is_tick() else view(**parts)
            if isinstance(shown, AnyResponse):
                return shown
            template, values = shown
            return self.show(template, values)

        self._add(rule, show, "GET", needs)

    def action(self, rule: str, act: View, *, needs: Permission) -> None:
        """Have POST `rule` call `act(form values…)`, for those who have the permission.

        It does what it says, and returns where to go then; or the template and values of a page that is shown once.
        What refuses is shown as a message on the page that the person came from.
        """

        def do(**parts: Any) -> AnyResponse:
            try:
                self.access.require(needs)
                target = act(**parts)
            except RequestError as error:
                return self._refuse(error)
            finally:
                self.recent.forget()
            if isinstance(target, tuple):
                return self.show(*target)
            if "HX-Request" in request.headers:
                response = Response(status=204)
                response.headers["HX-Location"] = BASE + target
                return response
            return redirect(BASE + target, code=303)

        self._add(rule, do, "POST", needs)

    def lacking(self, path: str, method: str = "POST") -> str:
        """The permission that who is logged in would need at a path below the console, and has not; else nothing."""
        operator = session().operator
        if operator.may(Permission.ADMIN):
            return ""
        adapter = request_ctx.url_adapter
        if adapter is None:
            raise RuntimeError("Pages are rendered within a request.")
        endpoint, _ = adapter.match(BASE + path, method=method)
        needed = self.needs[endpoint]
        return "" if operator.may(needed) else needed.value

    def show(self, template: str, values: dict[str, Any], status: int = 200) -> Response:
        """Render a page, with what every page needs."""
        visitor: Session | None = getattr(g, "console_session", None)
        common = {
            "layout": "part.html" if _is_tick() else "base.html",
            "pages": [page for page in self.pages if visitor and visitor.operator.may(page.needs)],
            "here": _section(request.path),
            "session": visitor,
            "access": self.access,
            "now": self.clock.now(),
            "path": request.full_path.rstrip("?"),
        }
        return Response(self.renderer.render(template, common | values), status, mimetype="text/html")

    def _refuse(self, error: RequestError) -> Response:
        return self.show("refused.html", {"error": error, "back": request.referrer or BASE}, error.status)

    def _add(self, rule: str, view: View, method: str, needs: Permission) -> None:
        endpoint = f"{method} {rule}".replace(".", "-")
        self.blueprint.add_url_rule(rule, endpoint=endpoint, view_func=view, methods=[method])
        self.needs[f"{self.blueprint.name}.{endpoint}"] = needs


def make_site(access: Access, clock: Clock, pages: Sequence[Page]) -> Site:
    """A console without pages yet: static files alone, and log-in and log-out where one logs in."""
    renderer = Renderer(BASE)
    site = Site(Blueprint("console", __name__, url_prefix=BASE), renderer, access, clock, pages)
    renderer.provide("lacking", site.lacking)
    rules = site.blueprint
    rules.before_request(lambda: access.admit(site.show))
    rules.after_request(access.greet)
    rules.after_request(harden)
    if access.guest is None:
        rules.add_url_rule("/login", "show_log_in", lambda: access.show_log_in(site.show), methods=["GET"])
        rules.add_url_rule("/login", "log_in", lambda: access.log_in(site.show), methods=["POST"])
        rules.add_url_rule("/logout", "log_out", access.log_out, methods=["POST"])
    rules.add_url_rule("/static/<path:name>", "static_file", _static_file)
    return site


def _static_file(name: str) -> Response:
    return send_from_directory(STATIC, name, max_age=_YEAR)


def _is_tick() -> bool:
    """Whether a page asks for one of its own live parts: htmx names the element then."""
    return "HX-Target" in request.headers


def _section(path: str) -> str:
    rest = path.removeprefix(BASE)
    return "" if rest in ("", "/") else "/" + rest.split("/")[1]
