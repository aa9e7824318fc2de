"""The page of tokens: issued and shown once, listed, revoked."""

import re

from flask.testing import FlaskClient

from headrace.console.views.tokens import PERMISSIONS
from headrace.contract.operations import Permission
from tests.console.conftest import csrf_of


def issue(browser: FlaskClient, name: str, *permissions: str) -> tuple[int, str]:
    form = {"csrf": csrf_of(browser), "name": name, "permissions": list(permissions)}
    answer = browser.post("/console/tokens/issue", data=form)
    return answer.status_code, answer.text


def test_the_empty_page_says_why_tokens_are_wanted(browser: FlaskClient) -> None:
    assert "No tokens yet" in browser.get("/console/tokens").text


def test_every_permission_can_be_ticked_and_says_what_it_allows(browser: FlaskClient) -> None:
    assert list(PERMISSIONS) == list(Permission)
    page = browser.get("/console/tokens").text
    assert re.findall(r'name="permissions" value="(\w+)"', page) == list(Permission)


def test_a_token_is_shown_once_opens_the_console_and_is_revoked(browser: FlaskClient) -> None:
    status, page = issue(browser, "ada <b>", "read", "cancel")
    (token,) = re.findall(r"hr_[\w-]{43}", page)
    assert (status, "Token ada &lt;b&gt;" in page) == (200, True)
    listed = browser.get("/console/tokens").text
    assert token not in listed
    assert ("read, cancel" in listed, ">live<" in listed) == (True, True)
    other = browser.application.test_client()
    assert other.post("/console/login", data={"token": token}).status_code == 303
    assert other.get("/console/runs").status_code == 200
    assert other.get("/console/tokens").status_code == 403
    revoked = browser.post("/console/tokens/1/revoke", data={"csrf": csrf_of(browser)})
    assert (revoked.status_code, revoked.headers["Location"]) == (303, "/console/tokens")
    assert ">revoked<" in browser.get("/console/tokens").text
    assert other.get("/console/runs").status_code == 303
    assert other.post("/console/login", data={"token": token}).status_code == 401


def test_a_token_that_cannot_be_is_refused_with_the_reason(browser: FlaskClient) -> None:
    assert issue(browser, "ada")[0] == 400
    assert issue(browser, "", "read")[0] == 400
    assert issue(browser, "ada", "read")[0] == 200
    status, page = issue(browser, "ada", "read")
    assert (status, "There is a token ada already" in page) == (409, True)
