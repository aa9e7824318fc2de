"""What a firing sends: to an address, to App Engine and to Pub/Sub, with its headers, body and tokens."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from google.api_core import exceptions
from google.cloud.scheduler_v1 import Job

from headrace.engine.model import AppEngineUrls
from headrace.engine.reach import PUBLIC_ONLY, TargetRules, parse_rule
from tests.cloud.conftest import LOCATION, Push, Target
from tests.cloud.scheduling import ACCOUNT, ISSUER, KEY, Scheduling, at, scheduling

START, FIVE = at("2026-03-02T10:02"), at("2026-03-02T10:05")
FIRING_HEADERS = {
    "x-cloudscheduler": "true",
    "x-cloudscheduler-jobname": "work",
    "x-cloudscheduler-scheduletime": "2026-03-02T10:05:00Z",
}
APP_ENGINE_AGENT = "AppEngine-Google; (+http://code.google.com/appengine)"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def running(target: Target) -> Iterator[Scheduling]:
    parts = AppEngineUrls(target.url, (("web", target.url + "/web"), ("v2.web", target.url + "/v2-web")))
    with scheduling(START, app_engine=parts, pubsub=target.url) as running:
        yield running


def fire(running: Scheduling, target: Target, **job: Any) -> Push:
    """The one request of a job's firing at 10:05."""
    create(running, **job)
    running.move_to(FIVE)
    (push,) = target.pushes
    return push


def create(running: Scheduling, **job: Any) -> Job:
    named = {"name": f"{LOCATION}/jobs/work", "schedule": "*/5 * * * *"}
    return running.client.create_job(parent=LOCATION, job=named | job)


def claims_of(push: Push) -> dict[str, Any]:
    """The claims of the request's token, whose signature holds; its times are those of the manual clock."""
    options = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
    scheme, token = push.headers["authorization"].split(" ")
    assert scheme == "Bearer"
    claims: dict[str, Any] = jwt.decode(token, KEY.public_key(), algorithms=["RS256"], options=options)
    return claims


# HTTP targets.


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_an_http_target_is_called_with_its_method(running: Scheduling, target: Target, method: str) -> None:
    push = fire(running, target, http_target={"uri": target.url + "/run?a=b%20c", "http_method": method})
    assert (push.method, push.path, push.body) == (method, "/run?a=b%20c", b"")
    assert push.headers.items() >= FIRING_HEADERS.items()
    assert push.headers["user-agent"] == "Google-Cloud-Scheduler"
    assert not push.headers.keys() & {"authorization", "content-type", "x-appengine-cron"}


def test_headers_and_body_are_sent_and_reserved_headers_are_not(running: Scheduling, target: Target) -> None:
    own = {
        "X-Own": "yes",
        "Authorization": "Basic abc",
        "User-Agent": "mine",
        "Host": "example.com",
        "Content-Length": "99",
        "X-CloudScheduler-JobName": "another",
        "X-AppEngine-Cron": "true",
        "X-Google-Secret": "1",
    }
    push = fire(running, target, http_target={"uri": target.url, "headers": own, "body": b"hello"})
    assert push.headers == FIRING_HEADERS | {
        "x-own": "yes",
        "authorization": "Basic abc",
        "user-agent": "Google-Cloud-Scheduler",
        "content-type": "application/octet-stream",
        "host": target.url.removeprefix("http://"),
        "content-length": "5",
    }
    assert push.body == b"hello"


def test_a_content_type_of_its_own_stays(running: Scheduling, target: Target) -> None:
    http = {"uri": target.url, "headers": {"content-type": "application/json"}, "body": b"{}"}
    assert fire(running, target, http_target=http).headers["content-type"] == "application/json"


@pytest.mark.parametrize("audience", ["", "https://audience.example"])
def test_an_identity_token_is_for_its_audience_or_else_the_uri(
    running: Scheduling, target: Target, audience: str
) -> None:
    uri = target.url + "/run?a=b"
    token = {"service_account_email": "a@b.example", "audience": audience}
    http = {"uri": uri, "headers": {"authorization": "Basic abc"}, "oidc_token": token}
    claims = claims_of(fire(running, target, http_target=http))
    assert (claims["iss"], claims["aud"], claims["email"]) == (ISSUER, audience or uri, "a@b.example")
    assert claims["iat"] == FIVE


def test_an_access_token_has_a_scope(running: Scheduling, target: Target) -> None:
    http = {"uri": target.url, "oauth_token": {"service_account_email": "a@b.example"}}
    claims = claims_of(fire(running, target, http_target=http))
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"


def test_a_firing_is_known_by_the_utc_time_it_was_scheduled_for(running: Scheduling, target: Target) -> None:
    zoned = {"schedule": "30 6 * * *", "time_zone": "America/New_York"}
    create(running, **zoned, http_target={"uri": target.url})
    running.move_to(at("2026-03-02T11:45"))
    (push,) = target.pushes
    assert push.headers["x-cloudscheduler-scheduletime"] == "2026-03-02T11:30:00Z"


def test_a_doubled_hour_and_a_skipped_one(target: Target) -> None:
    with scheduling(at("2026-03-07T12:00")) as running:
        create(running, schedule="every day 02:30", time_zone="America/New_York", http_target={"uri": target.url})
        job = running.client.get_job(name=f"{LOCATION}/jobs/work")
        assert job.schedule_time.timestamp() == at("2026-03-09T06:30")
        running.client.update_job(
            job={"name": job.name, "schedule": "every day 01:30"}, update_mask={"paths": ["schedule"]}
        )
        for moment in ("2026-11-01T05:00", "2026-11-01T05:30", "2026-11-01T06:30"):
            running.move_to(at(moment))
    times = [push.headers["x-cloudscheduler-scheduletime"] for push in target.pushes]
    assert times[-2:] == ["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"]


def test_a_target_that_cannot_be_reached_is_shown_as_such(running: Scheduling) -> None:
    create(running, http_target={"uri": NOWHERE})
    running.move_to(FIVE)
    status = running.client.get_job(name=f"{LOCATION}/jobs/work").status
    assert status.code == 14
    assert "127.0.0.1:1" in status.message


@pytest.mark.parametrize(("answer", "code"), [(302, 2), (404, 5), (429, 8), (500, 13), (504, 4)])
def test_any_answer_but_2xx_fails(running: Scheduling, target: Target, answer: int, code: int) -> None:
    target.answer = lambda push: answer
    create(running, http_target={"uri": target.url})
    running.move_to(FIVE)
    assert running.client.get_job(name=f"{LOCATION}/jobs/work").status.code == code
    running.move_to(FIVE + 299)
    assert len(target.pushes) == 1


def test_failed_requests_are_sent_again_with_the_same_time(running: Scheduling, target: Target) -> None:
    target.answer = lambda push: 500
    retry = {"retry_count": 2, "min_backoff_duration": {"seconds": 10}}
    create(running, http_target={"uri": target.url}, retry_config=retry)
    counts = []
    for moment in (0, 9.9, 10, 29.9, 30, 299):
        running.move_to(FIVE + moment)
        counts.append(len(target.pushes))
    assert counts == [1, 1, 2, 2, 3, 3]
    assert {push.headers["x-cloudscheduler-scheduletime"] for push in target.pushes} == {"2026-03-02T10:05:00Z"}


# App Engine targets.


def test_an_app_engine_target_is_called_at_its_base_url(running: Scheduling, target: Target) -> None:
    push = fire(running, target, app_engine_http_target={"relative_uri": "/run?a=b", "body": b"hello"})
    assert (push.method, push.path, push.body) == ("POST", "/run?a=b", b"hello")
    assert push.headers.items() >= FIRING_HEADERS.items()
    assert push.headers["user-agent"] == APP_ENGINE_AGENT
    assert push.headers["content-type"] == "application/octet-stream"
    assert push.headers["x-appengine-cron"] == "true"
    claims = claims_of(push)
    assert (claims["aud"], claims["email"]) == (target.url, ACCOUNT)


@pytest.mark.parametrize(
    ("routing", "path", "host"),
    [
        ({"service": "web"}, "/web/", "web.demo.appspot.com"),
        ({"service": "web", "version": "v2"}, "/v2-web/", "v2.web.demo.appspot.com"),
        ({"service": "other"}, "/", "other.demo.appspot.com"),
        ({}, "/", "demo.appspot.com"),
    ],
)
def test_routing_chooses_the_base_url(
    running: Scheduling, target: Target, routing: dict[str, str], path: str, host: str
) -> None:
    created = create(running, app_engine_http_target={"app_engine_routing": {**routing, "host": "mine.example"}})
    assert created.app_engine_http_target.app_engine_routing.host == host
    running.move_to(FIVE)
    (push,) = target.pushes
    assert push.path == path


def test_a_user_agent_of_its_own_comes_before_app_engines(running: Scheduling, target: Target) -> None:
    job = create(running, app_engine_http_target={"headers": {"user-agent": "mine"}})
    running.client.update_job(job=job, update_mask={"paths": ["app_engine_http_target"]})
    running.move_to(FIVE)
    (push,) = target.pushes
    assert push.headers["user-agent"] == f"mine {APP_ENGINE_AGENT}"


def test_headers_of_app_engine_and_authorization_cannot_be_set(running: Scheduling, target: Target) -> None:
    own = {"X-AppEngine-Cron": "false", "X-Google-Secret": "1", "Authorization": "Basic abc"}
    push = fire(running, target, app_engine_http_target={"headers": own})
    assert push.headers["x-appengine-cron"] == "true"
    assert "x-google-secret" not in push.headers
    assert claims_of(push)["email"] == ACCOUNT


def test_a_503_of_app_engine_is_sent_again_without_a_retry_count(running: Scheduling, target: Target) -> None:
    statuses = iter([503, 503, 204])
    target.answer = lambda push: next(statuses)
    create(running, app_engine_http_target={"relative_uri": "/"})
    for moment in (0, 5, 15):
        running.move_to(FIVE + moment)
    assert len(target.pushes) == 3


# Pub/Sub targets.


def test_a_message_is_published(running: Scheduling, target: Target) -> None:
    topic = "projects/demo/topics/nightly"
    push = fire(running, target, pubsub_target={"topic_name": topic, "data": b"\x00hi", "attributes": {"a": "b"}})
    assert (push.method, push.path) == ("POST", f"/v1/{topic}:publish")
    assert push.headers["content-type"] == "application/json"
    message = {"data": base64.b64encode(b"\x00hi").decode(), "attributes": {"a": "b"}}
    assert json.loads(push.body) == {"messages": [message]}


def test_the_address_of_an_emulator_will_do(target: Target) -> None:
    with scheduling(START, pubsub=target.url.removeprefix("http://")) as running:
        fire(running, target, pubsub_target={"topic_name": "projects/demo/topics/abc", "data": b"x"})


def test_without_pubsub_the_firing_fails_and_says_why() -> None:
    with scheduling(START) as running:
        create(running, pubsub_target={"topic_name": "projects/demo/topics/abc", "data": b"x"})
        running.move_to(FIVE)
        status = running.client.get_job(name=f"{LOCATION}/jobs/work").status
    assert status.code == 14
    assert status.message == ("There is no Pub/Sub to publish to. Give --pubsub-endpoint, or set PUBSUB_EMULATOR_HOST.")


# Rules on targets.


def test_a_target_that_the_server_is_kept_from_is_refused(target: Target) -> None:
    rules = TargetRules((parse_rule("localhost"),))
    with scheduling(START, reach=rules, app_engine=AppEngineUrls("http://inside.example")) as running:
        for job in ({"http_target": {"uri": "http://inside.example"}}, {"app_engine_http_target": {}}):
            with pytest.raises(exceptions.PermissionDenied, match="--allow-target"):
                create(running, **job)
        created = create(running, http_target={"uri": target.url.replace("127.0.0.1", "localhost")})
        created.http_target.uri = "http://inside.example"
        with pytest.raises(exceptions.PermissionDenied):
            running.client.update_job(job=created, update_mask={"paths": ["http_target.uri"]})
        running.move_to(FIVE)
        assert len(target.pushes) == 1


def test_a_message_to_what_is_no_address_fails_when_it_is_sent() -> None:
    rules = TargetRules((parse_rule("localhost"),))
    with scheduling(START, reach=rules, pubsub="http://a..b") as running:
        create(running, pubsub_target={"topic_name": "projects/demo/topics/topic", "data": b"x"})
        running.move_to(FIVE)
        assert "a..b" in running.client.get_job(name=f"{LOCATION}/jobs/work").status.message


def test_a_name_that_leads_to_an_address_inside_is_not_called(target: Target) -> None:
    with scheduling(START, reach=PUBLIC_ONLY) as running:
        create(running, http_target={"uri": target.url.replace("127.0.0.1", "localhost")})
        running.move_to(FIVE)
        assert target.pushes == []
        assert running.client.get_job(name=f"{LOCATION}/jobs/work").status.code == 7
