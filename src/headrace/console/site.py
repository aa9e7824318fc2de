"""A console: its pages, what shows and what acts, and how it is put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g, redirect, request, send_from_directory
from werkzeug.wrappers import Response as AnyResponse

from headrace.clock import Clock
from headrace.console.access import Access, harden
from headrace.console.rendering import STATIC, Renderer
from headrace.console.sessions import Session
from headrace.contract.operations import Permission
from headrace.errors import RequestError

BASE = "/console"
_YEAR = 31_536_000

View = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the navigation: its path below the console, its title, and the key that leads to it."""

    path: str
    title: str
    key: str


@dataclass(frozen=True, slots=True)
class Site:
    """What views are made with: a blueprint to register, a renderer, who may come in, and the navigation."""

    blueprint: Blueprint
    renderer: Renderer
    access: Access
    clock: Clock
    pages: Sequence[Page]

    def page(self, rule: str, view: View) -> None:
        """Show, at GET `rule`, the template and values that `view` returns; or lead where its redirect says."""

        def show(**parts: Any) -> AnyResponse:
            shown = view(**parts)
            if isinstance(shown, AnyResponse):
                return shown
            template, values = shown
            return self.show(template, values)

        self.blueprint.add_url_rule(rule, endpoint=f"GET {rule}".replace(".", "-"), view_func=show, methods=["GET"])

    def action(self, rule: str, act: View, *, needs: Permission) -> None:  # noqa: ARG002 - asked for by the tokens
        """Have POST `rule` call `act(form values…)`, which does what it says and returns where to go then.

        What refuses is shown as a message on the page that the person came from.
        """

        def do(**parts: Any) -> AnyResponse:
            try:
                target = act(**parts)
            except RequestError as error:
                return self.show("refused.html", {"error": error, "back": request.referrer or BASE}, error.status)
            if "HX-Request" in request.headers:
                response = Response(status=204)
                response.headers["HX-Location"] = BASE + target
                return response
            return redirect(BASE + target, code=303)

        self.blueprint.add_url_rule(rule, endpoint=f"POST {rule}".replace(".", "-"), view_func=do, methods=["POST"])

    def show(self, template: str, values: dict[str, Any], status: int = 200) -> Response:
        """Render a page, with what every page needs."""
        session: Session | None = getattr(g, "console_session", None)
        common = {
            "pages": self.pages,
            "here": _section(request.path),
            "session": session,
            "access": self.access,
            "now": self.clock.now(),
            "path": request.full_path.rstrip("?"),
        }
        return Response(self.renderer.render(template, common | values), status, mimetype="text/html")


def make_site(access: Access, clock: Clock, pages: Sequence[Page]) -> Site:
    """A console without pages yet: static files alone, and log-in and log-out where one logs in."""
    site = Site(Blueprint("console", __name__, url_prefix=BASE), Renderer(BASE), access, clock, pages)
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


def _section(path: str) -> str:
    rest = path.removeprefix(BASE)
    return "" if rest in ("", "/") else "/" + rest.split("/")[1]
