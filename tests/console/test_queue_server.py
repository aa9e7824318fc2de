"""The console of a queue server, over real HTTP on a real server: pages, actions, who may come in."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from headrace.cloud.fronts.access import TOKEN_VARIABLE
from headrace.cloud.fronts.mounts import MAX_FORM_BYTES
from headrace.console.queue_rows import Names, audit_row
from headrace.console.queue_server import PAGES
from headrace.errors import NotFound
from tests.cloud.conftest import LOCATION, WAIT, Server, Target, serving_target, start_server, stop_server

TOKEN = "sixteen-or-more-characters"
QUEUES = "queue:\n- name: mail\n  rate: 7/s\n- name: slow\n  rate: 1/m\n"
CRON = "cron:\n- url: /nightly\n  schedule: every day 06:00\n  timezone: Europe/Berlin\n"


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Visitor:
    """A browser of sorts: it keeps cookies, sends forms, and follows nothing."""

    server: Server
    cookies: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> Reply:
        connection = HTTPConnection(urlsplit(self.server.rest).netloc, timeout=WAIT)
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **(headers or {})}
        connection.request(method, path, body.encode() or None, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, rest = cookie.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        connection.close()
        return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, text)

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", f"/console{path}", headers=headers)

    def post(self, path: str, csrf: str | None = None, origin: str | None = None, **form: str) -> Reply:
        """Send a form as a page of the console does, unless another word or origin is given."""
        if csrf is None:
            found = re.search(r'X-CSRF-Token": "([^"]+)"', self.get("/queues").text)
            csrf = found[1] if found else ""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin or self.server.rest}
        return self.send("POST", f"/console{path}", urlencode({"csrf": csrf, **form}), headers)


def api(server: Server, method: str, path: str, body: Any = None) -> Any:
    connection = HTTPConnection(urlsplit(server.rest).netloc, timeout=WAIT)
    connection.request(method, path, None if body is None else json.dumps(body))
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def show_queue(server: Server, queue: str) -> Any:
    return api(server, "GET", f"/headrace/v1/{LOCATION}/queues/{queue}")


def put_task(server: Server, queue: str, name: str, url: str) -> None:
    full = f"{LOCATION}/queues/{queue}"
    task = {"name": f"{full}/tasks/{name}", "httpRequest": {"url": url, "body": "WzEsIDJd"}}
    assert "error" not in api(server, "POST", f"/v2/{full}/tasks", {"task": task})


@pytest.fixture(scope="module")
def sink() -> Iterator[Target]:
    with serving_target() as target:
        yield target


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sink: Target) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("console")
    (folder / "queue.yaml").write_text(QUEUES)
    (folder / "cron.yaml").write_text(CRON)
    files = ("--queues", str(folder / "queue.yaml"), "--cron", str(folder / "cron.yaml"))
    running = start_server("--memory", "--service-url", sink.url, *files)
    yield running
    assert stop_server(running) == 0


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(TOKEN_VARIABLE, TOKEN)
        running = start_server("--memory")
    yield running
    assert stop_server(running) == 0


@pytest.fixture
def visitor(server: Server) -> Visitor:
    return Visitor(server)


# Who may come in.


def test_everybody_on_loopback_has_a_session_of_their_own(server: Server, visitor: Visitor) -> None:
    first = visitor.get("/queues")
    assert first.status == 200
    assert "Log out" not in first.text
    (cookie,) = visitor.cookies
    assert cookie == f"headrace_queues_{urlsplit(server.rest).port}"
    assert "HttpOnly; Path=/console; SameSite=Strict" in first.headers["set-cookie"]
    assert "set-cookie" not in visitor.get("/queues").headers
    assert visitor.get("/login").status == 404


@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_pages_carry_the_headers_that_protect_them(visitor: Visitor, path: str) -> None:
    page = visitor.get(path)
    assert page.status == 200
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*src=)|style=|onclick=", page.text)


def test_a_change_without_the_word_of_ones_own_pages_is_refused(server: Server, visitor: Visitor) -> None:
    assert visitor.post("/queues/mail/pause", csrf="").status == 401
    visitor.get("/queues")
    for word in ("", "of-somebody-else"):
        assert visitor.post("/queues/mail/pause", csrf=word).status == 403
    assert show_queue(server, "mail")["state"] == "RUNNING"


def test_a_session_of_another_visitor_is_not_taken(server: Server, visitor: Visitor) -> None:
    other = Visitor(server)
    word = re.search(r'X-CSRF-Token": "([^"]+)"', other.get("/queues").text)
    assert word is not None
    visitor.get("/queues")
    assert visitor.post("/queues/mail/pause", csrf=word[1]).status == 403


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}])
def test_pages_of_other_hosts_are_refused_as_by_the_api(visitor: Visitor, headers: dict[str, str]) -> None:
    refused = visitor.get("/queues", **headers)
    assert (refused.status, json.loads(refused.text)["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert visitor.cookies == {}


def test_with_a_token_one_logs_in(guarded: Server) -> None:
    visitor = Visitor(guarded)
    away = visitor.get("/queues")
    assert (away.status, away.headers["location"]) == (303, "/console/login?next=/console/queues")
    assert visitor.post("/queues/mail/pause", csrf="x").status == 401
    assert TOKEN_VARIABLE in visitor.get("/login").text
    assert visitor.send("POST", "/console/login", "token=wrong", _FORM).status == 401
    assert visitor.cookies == {}
    entered = visitor.send("POST", "/console/login", f"token={TOKEN}&next=/console/audit", _FORM)
    assert (entered.status, entered.headers["location"]) == (303, "/console/audit")
    page = visitor.get("/audit")
    assert (page.status, "Log out" in page.text) == (200, True)
    assert visitor.post("/logout").headers["location"] == "/console/login"
    assert visitor.get("/queues").status == 303


_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_a_session_of_the_console_is_no_token_of_the_api(guarded: Server) -> None:
    visitor = Visitor(guarded)
    visitor.send("POST", "/console/login", f"token={TOKEN}", _FORM)
    assert visitor.send("GET", "/headrace/v1/queues").status == 401


def test_a_form_that_is_too_large_is_refused(visitor: Visitor) -> None:
    visitor.get("/queues")
    refused = visitor.post("/queues/mail/pause", csrf="x" * MAX_FORM_BYTES)
    assert (refused.status, "exceeds the limit" in refused.text) == (400, True)


@pytest.mark.parametrize(("method", "path", "status"), [("PUT", "/queues", 405), ("GET", "/../v2", 404)])
def test_what_is_no_page_is_not_there(visitor: Visitor, method: str, path: str, status: int) -> None:
    assert visitor.send(method, f"/console{path}").status == status


def test_the_console_is_one_path_and_no_other(visitor: Visitor) -> None:
    assert visitor.send("GET", "/consoles").status == 404
    assert visitor.get("").headers["location"] == "/console/queues"
    head = visitor.send("HEAD", "/console/queues")
    assert (head.status, head.text) == (200, "")
    assert int(head.headers["content-length"]) > 1000


def test_static_files_are_served_whole(visitor: Visitor) -> None:
    root = Path(__file__).parents[2] / "src/headrace/console/static"
    for name in ("console.css", "console.js", "vendor/uplot.min.js"):
        answer = visitor.get(f"/static/{name}")
        assert (answer.status, answer.text) == (200, (root / name).read_text())
    assert visitor.get("/static/../site.py").status == 404


# Queues and tasks.


def test_a_queue_is_paused_and_resumed_and_the_audit_says_who(server: Server, visitor: Visitor) -> None:
    assert visitor.post("/queues/slow/pause").headers["location"] == "/console/queues/slow"
    assert show_queue(server, "slow")["state"] == "PAUSED"
    assert "This queue is paused" in visitor.get("/queues/slow").text
    visitor.post("/queues/slow/resume")
    assert show_queue(server, "slow")["state"] == "RUNNING"
    audit = visitor.get("/audit").text
    assert "this machine" in audit
    assert "paused → running" in audit


def test_a_task_says_why_it_waits_is_run_and_still_has_a_page(server: Server, visitor: Visitor, sink: Target) -> None:
    visitor.post("/queues/mail/pause")
    put_task(server, "mail", "letter", f"{sink.url}/letters")
    page = visitor.get("/queues/mail/tasks/letter").text
    assert "Why it is not running:</strong> queue paused" in page
    assert f"{sink.url}/letters" in page
    assert "letter" in visitor.get("/queues/mail?order=created").text
    ran = visitor.post("/queues/mail/tasks/letter/run")
    assert ran.headers["location"] == "/console/queues/mail/tasks/letter"
    sink.wait_for(1)
    api(server, "POST", "/headrace/v1:waitUntilIdle", {})
    page = visitor.get("/queues/mail/tasks/letter").text
    assert "Delivery 1" in page
    assert "done, 204" in page
    assert "What is known of it are its deliveries" in page
    assert visitor.get("/queues/mail/tasks/unknown").status == 404
    visitor.post("/queues/mail/resume")


def test_a_purge_asks_with_the_count_and_drops_them(server: Server, visitor: Visitor, sink: Target) -> None:
    api(server, "PUT", f"/headrace/v1/{LOCATION}/queues/full", {"rate": "0/s"})
    for number in range(3):
        put_task(server, "full", f"task-{number}", sink.url)
    assert "This drops the 3 tasks" in visitor.get("/queues/full").text
    visitor.post("/queues/full/tasks/task-0/delete")
    assert show_queue(server, "full")["pending"] == 2
    visitor.post("/queues/full/purge")
    assert show_queue(server, "full")["pending"] == 0
    assert "No task waits" in visitor.get("/queues/full").text


def test_limits_are_edited_and_given_back(server: Server, visitor: Visitor) -> None:
    form = {
        **{"rate_per_second": "0.5", "bucket_size": "9", "max_concurrent_requests": "4", "max_attempts": "-1"},
        **{"max_duration": "0", "min_backoff": "0.1", "max_backoff": "60", "max_doublings": "16"},
    }
    assert 'name="rate_per_second"' in visitor.get("/queues/mail/limits").text
    assert visitor.post("/queues/mail/limits", **form).status == 303
    page = visitor.get("/queues/mail").text
    assert "this machine put these over the file" in page
    assert "the file says 7/s" in page
    refused = visitor.post("/queues/mail/limits", **form | {"rate_per_second": "501"})
    assert (refused.status, "must lie between 0 and 500" in refused.text) == (400, True)
    refused = visitor.post("/queues/mail/limits", **form | {"bucket_size": "many"})
    assert (refused.status, "must be a whole number" in refused.text) == (400, True)
    assert show_queue(server, "mail")["rateLimits"]["maxBurstSize"] == 9
    visitor.post("/queues/mail/limits/give-back")
    assert show_queue(server, "mail")["declared"] is None


def test_a_queue_elsewhere_says_where_and_has_its_page(server: Server, visitor: Visitor) -> None:
    api(server, "PUT", "/headrace/v1/projects/other/locations/there/queues/far", {"rate": "1/s"})
    page = visitor.get("/queues").text
    assert 'href="/console/queues/other~there~far"' in page
    assert "other, there" in page
    assert visitor.post("/queues/other~there~far/pause").status == 303
    assert visitor.get("/queues/other~there~far").status == 200
    for name in ("missing", "a~b", "a~b~c~d", quote("a/b", safe=""), "other~there~none"):
        assert visitor.get(f"/queues/{name}").status == 404, name


def test_many_queues_come_in_pages_and_are_found_by_name(server: Server, visitor: Visitor) -> None:
    for number in range(101):
        api(server, "PUT", f"/headrace/v1/projects/many/locations/here/queues/numbered-{number:03}", {"rate": "1/s"})
    first = visitor.get("/queues?q=numbered")
    assert (first.text.count("numbered-"), "More queues" in first.text) > (100, False)
    assert "numbered-100" not in first.text
    more = re.search(r'href="/console(/queues\?after=[^"]+)"', first.text)
    assert more is not None
    rest = visitor.get(more[1].replace("&amp;", "&")).text
    assert "numbered-100" in rest
    assert "numbered-099" not in rest
    assert "No queue has that in its name" in visitor.get("/queues?q=nothing").text


def test_what_is_done_by_a_script_leads_on_without_a_redirect(server: Server, visitor: Visitor) -> None:
    word = re.search(r'X-CSRF-Token": "([^"]+)"', visitor.get("/queues").text)
    assert word is not None
    headers = {"HX-Request": "true", "X-CSRF-Token": word[1], "Origin": server.rest}
    done = visitor.send("POST", "/console/queues/slow/resume", headers=headers)
    assert (done.status, done.headers["hx-location"]) == (204, "/console/queues/slow")


# Schedules.


def test_a_job_is_shown_run_paused_edited_and_resumed(server: Server, visitor: Visitor, sink: Target) -> None:
    before = len(sink.pushes)
    page = visitor.get("/schedules").text
    assert "every day 06:00" in page
    assert len(re.findall(r"T06:00:00\+0[12]:00", page)) == 6
    visitor.post("/schedules/run", job="nightly")
    assert sink.wait_for(before + 1)[-1].path == "/nightly"
    api(server, "POST", "/headrace/v1:waitUntilIdle", {})
    assert '<span class="state done">' in visitor.get("/schedules").text
    visitor.post("/schedules/pause", job="nightly")
    page = visitor.get("/schedules").text
    assert "none while it is paused" in page
    refused = visitor.post("/schedules/pause", job="nightly")
    assert (refused.status, "must be ENABLED" in refused.text) == (400, True)
    visitor.post("/schedules/resume", job="nightly")
    assert "every day 06:00" in visitor.get("/schedules/edit?job=nightly").text
    visitor.post("/schedules/edit", job="nightly", schedule="*/5 8-17 * * 1-5", timezone="UTC")
    assert "Every fifth minute from 08:00 through 17:59 on Monday through Friday" in visitor.get("/schedules").text
    refused = visitor.post("/schedules/edit", job="nightly", schedule="often", timezone="UTC")
    assert (refused.status, "Schedule or time zone is invalid" in refused.text) == (400, True)
    assert visitor.post("/schedules/run", job="none").status == 404
    audit = visitor.get("/audit").text
    for word in ("run job", "pause job", "resume job", "edit job"):
        assert word in audit


# Names and the audit, in words.


def test_names_are_short_where_there_is_no_doubt() -> None:
    names = Names("demo", "here")
    for full, short in ((f"{LOCATION}/queues/q", "q"), ("projects/p:x/locations/l/queues/q", "p:x~l~q")):
        assert names.short(full) == short
        assert names.full(short, "queues") == full
    with pytest.raises(NotFound):
        names.full("a~b", "queues")


def test_an_entry_says_what_was_changed_alone() -> None:
    entry = {
        **{"at": "2026-01-01T00:00:00Z", "actor": "a", "action": "limit_queue", "object": f"{LOCATION}/queues/q"},
        "old": {"rateLimits": {"maxDispatchesPerSecond": 5, "maxBurstSize": 5}},
        "new": {"rateLimits": {"maxDispatchesPerSecond": 2.0, "maxBurstSize": 5}},
    }
    row = audit_row(entry, Names("demo", "here"))
    assert (row["changes"], row["path"]) == ([("maxDispatchesPerSecond", "5", "2")], "/queues/q")
