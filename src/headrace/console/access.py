"""Who may see a console, and what every answer of it carries: log-in, CSRF, headers."""

from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from urllib.parse import urlencode

from flask import Response, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from headrace.console.sessions import COOKIE, LIFETIME, Session, Sessions
from headrace.contract.operations import Permission
from headrace.contract.principals import Authenticator, Principal

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

Show = Callable[[str, dict[str, object], int], Response]


@dataclass(frozen=True, slots=True)
class Access:
    """Lets people in by a token. `sessions` is None where there is none to give: then the console is closed.

    `base` is where the console is mounted, and `cookie` the name of its sessions. `operators` knows the tokens. `guest`
    is everybody where no token is asked for: then nobody logs in. `token_variable` is what holds the token, in the
    words of the page that asks for it.
    """

    base: str
    sessions: Sessions | None
    operators: Authenticator
    cookie: str = COOKIE
    guest: Principal | None = None
    token_variable: str = "HEADRACE_ADMIN_TOKEN"  # noqa: S105 - the name of a variable, not a secret

    def admit(self, show: Show) -> AnyResponse | None:
        """Let in who is logged in; a change needs the word that only the person's own pages have."""
        if self.sessions is None:
            return show("closed.html", {}, 403)
        if request.endpoint in _OPEN:
            return None
        g.console_session = self.sessions.read(request.cookies.get(self.cookie), self._operator_of)
        if g.console_session is None and self.guest is not None and request.method in ("GET", "HEAD"):
            g.console_session, g.console_cookie = self.sessions.open(self.guest)
        if g.console_session is None:
            if request.method not in ("GET", "HEAD"):
                return Response("Log in first.", 401, mimetype="text/plain")
            target = f"{self.base}/login?{urlencode({'next': request.full_path.rstrip('?')}, safe='/')}"
            if "HX-Request" in request.headers:
                return Response(status=401, headers={"HX-Redirect": f"{self.base}/login"})
            return redirect(target, code=303)
        if request.method not in ("GET", "HEAD") and not _has_csrf(g.console_session):
            return Response("This page is from another log-in: load it again.", 403, mimetype="text/plain")
        return None

    def show_log_in(self, show: Show) -> Response:
        """The page that asks for the token."""
        return show("login.html", {"next": self._own_path(request.args.get("next", "")), "refused": False}, 200)

    def log_in(self, show: Show) -> AnyResponse:
        """Open a session for who has given a token, and lead to the page that was asked for."""
        target = self._own_path(request.form.get("next", ""))
        operator = self.operators.by_token(request.form.get("token", "").strip())
        if self.sessions is None or operator is None:
            return show("login.html", {"next": target, "refused": True}, 401)
        _, cookie = self.sessions.open(operator)
        response = redirect(target, code=303)
        self._set_cookie(response, cookie)
        return response

    def greet(self, response: AnyResponse) -> AnyResponse:
        """Give a guest who came for the first time a session of their own."""
        cookie = g.pop("console_cookie", None)
        if cookie is not None:
            self._set_cookie(response, cookie)
        return response

    def log_out(self) -> AnyResponse:
        """End the session."""
        response = redirect(f"{self.base}/login", code=303)
        response.delete_cookie(self.cookie, path=self.base)
        return response

    def require(self, needs: Permission) -> None:
        """Return when who is logged in may do that. Raises Forbidden, and has it written down."""
        operator = session().operator
        if not operator.may(needs):
            self.operators.note_refusal(operator, needs, request.method, request.path)
            raise operator.lacks(needs)

    def _operator_of(self, token_id: str) -> Principal | None:
        if self.guest is not None and token_id == self.guest.id:
            return self.guest
        return self.operators.by_id(token_id)

    def _set_cookie(self, response: AnyResponse, cookie: str) -> None:
        response.set_cookie(
            *(self.cookie, cookie),
            max_age=LIFETIME,
            path=self.base,
            httponly=True,
            samesite="Strict",
            secure=request.is_secure,
        )

    def _own_path(self, path: str) -> str:
        """A path of the console: nobody is sent elsewhere after a log-in."""
        own = path == self.base or path.startswith((f"{self.base}/", f"{self.base}?"))
        return path if own and "\\" not in path and "//" not in path else self.base


def session() -> Session:
    """Who is logged in, on a page that is not open to everybody."""
    found: Session = g.console_session
    return found


def actor() -> str:
    """Who is logged in, for the audit."""
    return session().actor


def harden(response: AnyResponse) -> AnyResponse:
    """Add the headers that every answer has."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "console.static_file":
        response.headers["Cache-Control"] = "no-store"
    return response


def _has_csrf(session: Session) -> bool:
    given = request.headers.get("X-CSRF-Token") or request.form.get("csrf", "")
    return compare_digest(given.encode(), session.csrf.encode())
