"""The console on a service: who may see it, what every answer carries, and where its pages are."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Flask, Response, g, redirect, request, send_from_directory
from werkzeug.wrappers import Response as AnyResponse

from headrace.console.rendering import STATIC, Renderer
from headrace.console.sessions import COOKIE, LIFETIME, Session, Sessions
from headrace.errors import RequestError
from headrace.operators import Operators
from headrace.service.current import Service, current_service

BASE = "/console"
# Nothing of other places, nothing written into a page; uPlot and htmx set styles by the DOM's own properties.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_OPEN = frozenset({"console.log_in", "console.show_log_in", "console.static_file"})
_YEAR = 31_536_000

View = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the navigation: its path below the console, its title, and the key that leads to it."""

    path: str
    title: str
    key: str


PAGES = (
    Page("", "Overview", "o"),
    Page("/runs", "Runs", "r"),
    Page("/dead", "Dead letters", "d"),
    Page("/decisions", "Decisions", "e"),
    Page("/schedules", "Schedules", "s"),
    Page("/alerts", "Alerts", "a"),
)


@dataclass(frozen=True, slots=True)
class Site:
    """What views are made with."""

    blueprint: Blueprint
    renderer: Renderer
    sessions: Sessions | None
    _titles: dict[str, str] = field(default_factory=lambda: {page.path: page.title for page in PAGES})

    def page(self, rule: str, view: View) -> None:
        """Show, at GET `rule`, the template and values that `view` returns."""

        def show(**parts: Any) -> Response:
            template, values = view(**parts)
            return self.show(template, values)

        self.blueprint.add_url_rule(rule, endpoint=f"GET {rule}".replace(".", "-"), view_func=show, methods=["GET"])

    def action(self, rule: str, act: View) -> None:
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
            "pages": PAGES,
            "here": _section(request.path),
            "session": session,
            "now": current_service().clock.now(),
            "path": request.full_path.rstrip("?"),
        }
        return Response(self.renderer.render(template, common | values), status, mimetype="text/html")


def mount(app: Flask, service: Service) -> None:
    """Serve the console of `service` at /console. It stays closed where no admin token is set."""
    # The views are imported with the first console that is mounted: a service without one pays nothing.
    from headrace.console.views import register_all

    token = service.settings.admin_token
    blueprint = Blueprint("console", __name__, url_prefix=BASE)
    site = Site(blueprint, Renderer(BASE), None if token is None else Sessions(token))
    blueprint.before_request(lambda: _admit(site))
    blueprint.after_request(_harden)
    _add_log_in(site)
    blueprint.add_url_rule("/static/<path:name>", "static_file", _static_file)
    register_all(site)
    app.register_blueprint(blueprint)


def actor() -> str:
    """Who is logged in, for the audit."""
    session: Session = g.console_session
    return session.actor


def operators() -> Operators:
    """What people do by hand, on the service of this request."""
    found = current_service().operators
    if found is None:
        raise RuntimeError("This service was put together without operators.")
    return found


def _admit(site: Site) -> AnyResponse | None:
    """Let in who is logged in; a change needs the word that only the person's own pages have."""
    if site.sessions is None:
        return site.show("closed.html", {}, 403)
    g.console_session = site.sessions.read(request.cookies.get(COOKIE))
    if request.endpoint in _OPEN:
        return None
    if g.console_session is None:
        if request.method != "GET":
            return Response("Log in first.", 401, mimetype="text/plain")
        target = f"{BASE}/login?next={request.full_path.rstrip('?')}"
        if "HX-Request" in request.headers:
            return Response(status=401, headers={"HX-Redirect": f"{BASE}/login"})
        return redirect(target, code=303)
    if request.method != "GET" and not _has_csrf(g.console_session):
        return Response("This page is from another log-in: load it again.", 403, mimetype="text/plain")
    return None


def _has_csrf(session: Session) -> bool:
    given = request.headers.get("X-CSRF-Token") or request.form.get("csrf", "")
    return hmac.compare_digest(given.encode(), session.csrf.encode())


def _harden(response: AnyResponse) -> AnyResponse:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "console.static_file":
        response.headers["Cache-Control"] = "no-store"
    return response


def _static_file(name: str) -> Response:
    return send_from_directory(STATIC, name, max_age=_YEAR)


def _add_log_in(site: Site) -> None:
    sessions = site.sessions

    def show_log_in() -> Response:
        return site.show("login.html", {"next": _own_path(request.args.get("next", "")), "refused": False})

    def log_in() -> AnyResponse:
        wanted = current_service().settings.admin_token or ""
        target = _own_path(request.form.get("next", ""))
        given = request.form.get("token", "").strip()
        if sessions is None or not hmac.compare_digest(given.encode(), wanted.encode()):
            return site.show("login.html", {"next": target, "refused": True}, 401)
        _, cookie = sessions.open("admin token")
        response = redirect(target, code=303)
        response.set_cookie(
            COOKIE, cookie, max_age=LIFETIME, path=BASE, httponly=True, samesite="Strict", secure=request.is_secure
        )
        return response

    def log_out() -> AnyResponse:
        response = redirect(f"{BASE}/login", code=303)
        response.delete_cookie(COOKIE, path=BASE)
        return response

    site.blueprint.add_url_rule("/login", "show_log_in", show_log_in, methods=["GET"])
    site.blueprint.add_url_rule("/login", "log_in", log_in, methods=["POST"])
    site.blueprint.add_url_rule("/logout", "log_out", log_out, methods=["POST"])


def _own_path(path: str) -> str:
    """A path of the console: nobody is sent elsewhere after a log-in."""
    own = path == BASE or path.startswith((f"{BASE}/", f"{BASE}?"))
    return path if own and "\\" not in path and "//" not in path else BASE


def _section(path: str) -> str:
    rest = path.removeprefix(BASE)
    return "" if rest in ("", "/") else "/" + rest.split("/")[1]
