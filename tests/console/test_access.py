"""Who may see the console, and what every answer of it carries."""

from flask.testing import FlaskClient

from headrace.console.service import PAGES
from headrace.console.sessions import Sessions
from headrace.contract.operations import Permission
from headrace.contract.principals import Principal
from tests.console.conftest import csrf_of


def test_nobody_sees_a_page_without_a_log_in(visitor: FlaskClient) -> None:
    for page in PAGES:
        answer = visitor.get(f"/console{page.path}")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/console/login?next=/console{page.path}")
    assert visitor.post("/console/dead/retry").status_code == 401


def test_a_wrong_token_opens_nothing_and_the_right_one_opens_the_page_that_was_asked_for(visitor: FlaskClient) -> None:
    refused = visitor.post("/console/login", data={"token": "guess", "next": "/console/runs"})
    assert (refused.status_code, "no live token" in refused.text) == (401, True)
    assert "Set-Cookie" not in refused.headers
    opened = visitor.post("/console/login", data={"token": "secret", "next": "/console/runs"})
    assert (opened.status_code, opened.headers["Location"]) == (303, "/console/runs")
    cookie = opened.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/console"))
    assert visitor.get("/console/runs").status_code == 200


def test_a_log_in_leads_nowhere_else(visitor: FlaskClient) -> None:
    for target in ("https://elsewhere.test/", "//elsewhere.test", "/consolex", "/console\\..", "/console//elsewhere"):
        answer = visitor.post("/console/login", data={"token": "secret", "next": target})
        assert answer.headers["Location"] == "/console", target


def test_a_change_needs_the_word_of_this_log_in(browser: FlaskClient) -> None:
    assert browser.post("/console/dead/retry").status_code == 403
    assert browser.post("/console/dead/retry", data={"csrf": "guess"}).status_code == 403
    assert browser.post("/console/dead/retry", data={"csrf": csrf_of(browser)}).status_code == 303


def test_pages_load_nothing_from_elsewhere_and_run_nothing_that_stands_in_them(browser: FlaskClient) -> None:
    for page in PAGES:
        answer = browser.get(f"/console{page.path}")
        assert answer.status_code == 200, page
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http://" not in answer.text.replace("http://www.w3.org/", "")
        assert "<script>" not in answer.text
        assert " style=" not in answer.text
        assert answer.headers["Cache-Control"] == "no-store"


def test_static_files_are_kept_by_browsers_and_named_by_their_content(visitor: FlaskClient) -> None:
    for name in ("console.css", "console.js", "theme.js", "mark.svg", "vendor/htmx.min.js", "vendor/uplot.min.js"):
        answer = visitor.get(f"/console/static/{name}")
        assert (answer.status_code, "max-age=31536000" in answer.headers["Cache-Control"]) == (200, True), name
        answer.close()
    assert visitor.get("/console/static/../site.py").status_code == 404


def test_a_log_out_ends_the_session(browser: FlaskClient) -> None:
    browser.post("/console/logout", data={"csrf": csrf_of(browser)})
    assert browser.get("/console").status_code == 303


def test_a_cookie_of_another_token_is_none() -> None:
    ada = Principal("7", "ada", frozenset({Permission.READ}))
    session, cookie = Sessions("one").open(ada)
    assert Sessions("one").read(cookie, {"7": ada}.get) == session
    assert Sessions("one").read(cookie, {"8": ada}.get) is None
    assert Sessions("two").read(cookie, {"7": ada}.get) is None
    assert Sessions("one").read(cookie + "x", {"7": ada}.get) is None
    assert Sessions("one").read(None, {"7": ada}.get) is None


def test_a_log_in_leads_back_to_the_filters_that_were_asked_for(visitor: FlaskClient) -> None:
    asked = visitor.get("/console/tasks?state=error&handler=a")
    form = visitor.get(asked.headers["Location"]).text
    assert 'name="next" value="/console/tasks?state=error&amp;handler=a"' in form


def test_an_address_with_a_nul_is_refused(browser: FlaskClient) -> None:
    for path in ("/console/audit?actor=%00", "/console/tasks?q=a%00b", "/api/v1/runs/%00", "/console/runs/%00"):
        answer = browser.get(path, headers={"Authorization": "Bearer secret"})
        assert (answer.status_code, "NUL" in answer.text) == (400, True), path
