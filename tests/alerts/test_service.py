"""Alerts of a whole service: its sweep, its admin API, the command line and the page of the console."""

import json
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.serving import make_server

import headrace
from headrace.cli import main
from headrace.errors import ConfigError
from headrace.testing.service import ADMIN_TOKEN, ServiceUnderTest
from tests.alerts.sinks import Sink
from tests.runs.harbour import Harbour, harbour

__all__ = ["harbour"]

TOKEN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
FULL = "{max-pending: 2, when-full: refuse}"


@pytest.fixture
def service(harbour: Harbour, sink: Sink) -> ServiceUnderTest:
    """A service with a full queue, and a route."""
    routes = json.dumps({"webhook": [{"name": "ops", "url": sink.url, "rules": ["queue-full"]}]})
    service = harbour.serve(FULL, HEADRACE_ALERT_ROUTES=routes, HEADRACE_HEARTBEAT_URL=f"{sink.url}/beat")
    with service.transaction() as connection:
        for number in range(2):
            headrace.push(connection, harbour.code.store, {"crate": number})
    return service


def listed(service: ServiceUnderTest) -> dict[str, Any]:
    answer = service.client.get("/api/v1/alerts", headers=TOKEN)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.parametrize("sweep", ["sweep", "alerts"])
def test_a_sweep_fires_and_sends_and_the_api_shows_it(service: ServiceUnderTest, sink: Sink, sweep: str) -> None:
    assert listed(service)["alerts"] == []
    service.start(f"headrace.service.sweeps.{sweep}")
    shown = listed(service)
    (alert,) = shown["alerts"]
    assert (alert["rule"], alert["object"], alert["state"]) == ("queue-full", "yard", "firing")
    assert shown["routes"] == [{"name": "ops", "kind": "webhook", "rules": ["queue-full"]}]
    assert [message["object"] for message in sink.told] == ["yard"]
    assert [path for path, _, _ in sink.posts] == ["/", "/beat"]


def test_an_alert_is_acknowledged_by_the_api_once(service: ServiceUnderTest) -> None:
    service.start("headrace.service.sweeps.alerts")
    (alert,) = listed(service)["alerts"]
    path = f"/api/v1/alerts/{alert['id']}/acknowledge"
    assert service.client.post(path).status_code == 401
    assert service.client.post(path, headers=TOKEN).status_code == 204
    assert service.client.post(path, headers=TOKEN).status_code == 409
    assert service.client.post("/api/v1/alerts/999/acknowledge", headers=TOKEN).status_code == 404
    assert listed(service)["alerts"][0]["acknowledged_by"]
    (row,) = service.client.get("/api/v1/audit", headers=TOKEN).json["audit"]
    assert (row["action"], row["object"]) == ("acknowledge", f"alert/{alert['id']}")


def test_a_service_with_routes_that_are_wrong_does_not_start(harbour: Harbour) -> None:
    with pytest.raises(ConfigError, match="HEADRACE_ALERT_ROUTES"):
        harbour.serve(HEADRACE_ALERT_ROUTES="webhook: [{name: ops}]")


@pytest.fixture
def served(service: ServiceUnderTest) -> Iterator[dict[str, str]]:
    """The service behind a port: the variables of a command that asks it."""
    server = make_server("127.0.0.1", 0, service.app, threaded=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield {
        "HEADRACE_SERVICE_URL": f"http://127.0.0.1:{server.server_port}",
        "HEADRACE_ADMIN_TOKEN": ADMIN_TOKEN,
    }
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_command_line_lists_and_acknowledges(service: ServiceUnderTest, served: dict[str, str]) -> None:
    service.start("headrace.service.sweeps.alerts")

    def run(*arguments: str) -> str:
        # The service logs in the same process, and so to the same standard output.
        with capture_logs():
            result = CliRunner().invoke(main, ["alerts", *arguments], env={**served, "COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output

    (alert,) = json.loads(run("list", "--json"))["alerts"]
    assert "queue-full" in run("list")
    assert run("acknowledge", str(alert["id"])) == f"alert {alert['id']} is acknowledged\n"
    assert json.loads(run("list", "--json"))["alerts"][0]["acknowledged_at"] is not None


@pytest.fixture
def browser(service: ServiceUnderTest) -> FlaskClient:
    """A browser that is logged in to the service's console."""
    client = service.client
    client.post("/console/login", data={"token": ADMIN_TOKEN})
    return client


def test_the_page_says_what_to_do_while_there_is_nothing(browser: FlaskClient) -> None:
    page = browser.get("/console/alerts")
    assert page.status_code == 200
    assert "Nothing was ever wrong" in page.text
    assert "ops: webhook, for queue-full" in page.text


def test_the_page_shows_alerts_and_acknowledges_them(
    service: ServiceUnderTest, browser: FlaskClient, sink: Sink
) -> None:
    sink.answers = [500]
    service.start("headrace.service.sweeps.alerts")
    page = browser.get("/console/alerts").text
    (alert,) = listed(service)["alerts"]
    path = f"/console/alerts/{alert['id']}/acknowledge"
    assert f'action="{path}"' in page
    assert "firing" in page
    assert "127.0.0.1 answered 500" in page
    csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
    assert browser.post(path).status_code == 403
    assert browser.post(path, data={"csrf": csrf}).status_code == 303
    page = browser.get("/console/alerts").text
    assert f'action="{path}"' not in page
    assert listed(service)["alerts"][0]["acknowledged_by"] in page
    assert browser.post(path, data={"csrf": csrf}).status_code == 409
