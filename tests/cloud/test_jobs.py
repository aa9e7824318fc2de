"""Cloud Scheduler v1 through the official client: what is kept, shown and refused."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1 import Job as ClientJob
from google.protobuf.duration_pb2 import Duration

from headrace.cloud.files import make_cron_jobs
from headrace.cloud.scheduler.answers import job_message
from headrace.cloud.scheduler.messages import Job
from headrace.config import load_cron_file
from headrace.engine.errors import ConnectionDropped, PushFailed, TargetForbidden, TargetTimedOut
from headrace.engine.firings import Progress
from headrace.engine.jobs import Outcome
from tests.cloud.conftest import LOCATION, WAIT, Target, start_server, stop_server
from tests.cloud.scheduling import Scheduling, at, connect, job_name, scheduling

RECORDED = json.loads((Path(__file__).parent.parent / "vectors/cloudtasks_errors.json").read_text())
START = at("2026-03-02T10:02")
ENABLED, PAUSED = ClientJob.State.ENABLED, ClientJob.State.PAUSED


def http_job(job_id: str = "", **fields: Any) -> dict[str, Any]:
    """A job that calls an address at which nobody is, every five minutes."""
    named = {"name": job_name(job_id)} if job_id else {}
    return {**named, "schedule": "*/5 * * * *", "http_target": {"uri": "http://127.0.0.1:1/x"}, **fields}


def seconds(job: ClientJob, field: str) -> float:
    return float(getattr(job, field).timestamp())


@pytest.fixture(scope="module")
def running() -> Iterator[Scheduling]:
    with scheduling(START) as running:
        yield running


@pytest.fixture
def client(running: Scheduling) -> CloudSchedulerClient:
    return running.client


def test_a_new_job_is_shown_with_the_defaults_of_the_service(client: CloudSchedulerClient) -> None:
    created = client.create_job(parent=LOCATION, job=http_job("new"))
    assert created == client.get_job(name=job_name("new"))
    assert (created.state, created.time_zone, created.attempt_deadline) == (ENABLED, "UTC", timedelta(seconds=180))
    assert created.http_target.http_method.name == "POST"
    assert created.http_target.headers == {"User-Agent": "Google-Cloud-Scheduler"}
    retry = created.retry_config
    assert (retry.retry_count, retry.max_doublings, retry.max_retry_duration) == (0, 5, timedelta(0))
    assert (retry.min_backoff_duration, retry.max_backoff_duration) == (timedelta(seconds=5), timedelta(hours=1))
    assert (seconds(created, "user_update_time"), seconds(created, "schedule_time")) == (START, START + 150 + 30)
    assert (created.status.code, "last_attempt_time" in created) == (-1, False)


def test_all_that_a_job_has_comes_back(client: CloudSchedulerClient) -> None:
    job = http_job(
        "whole",
        description="every night",
        schedule="every monday 09:00",
        time_zone="America/New_York",
        http_target={
            "uri": "https://example.com/run?a=b",
            "http_method": "PUT",
            "headers": {"X-A": "b", "content-type": "text/plain", "user-agent": "mine"},
            "body": b"hello",
            "oidc_token": {"service_account_email": "a@b.example", "audience": "me"},
        },
        retry_config={
            "retry_count": 3,
            "max_retry_duration": timedelta(hours=1),
            "min_backoff_duration": timedelta(milliseconds=100),
            "max_backoff_duration": timedelta(seconds=60),
            "max_doublings": 2,
        },
        attempt_deadline=timedelta(seconds=60),
    )
    created = client.create_job(parent=LOCATION, job=job)
    expected = ClientJob(job)
    expected.http_target.headers = {"X-A": "b", "content-type": "text/plain", "User-Agent": "Google-Cloud-Scheduler"}
    for field in ("name", "description", "schedule", "time_zone", "http_target", "retry_config", "attempt_deadline"):
        assert getattr(created, field) == getattr(expected, field)
    assert seconds(created, "schedule_time") == at("2026-03-02T14:00")


def test_a_job_without_a_name_gets_one(client: CloudSchedulerClient) -> None:
    first, second = (client.create_job(parent=LOCATION, job=http_job()).name for _ in range(2))
    assert first != second
    assert client.get_job(name=first).name == first
    assert first.startswith(f"{LOCATION}/jobs/")


def test_output_only_fields_are_ignored(client: CloudSchedulerClient) -> None:
    job = http_job("outputs", state="PAUSED", status={"code": 3}, user_update_time={"seconds": 5})
    created = client.create_job(parent=LOCATION, job=job)
    assert (created.state, created.status.code, seconds(created, "user_update_time")) == (ENABLED, -1, START)
    updated = client.update_job(job={**job, "description": "d"}, update_mask={"paths": ["state", "description"]})
    assert (updated.state, updated.description) == (ENABLED, "d")


def test_jobs_are_listed_by_name_in_pages(client: CloudSchedulerClient) -> None:
    parent = "projects/demo/locations/elsewhere"
    names = [f"{parent}/jobs/j{number}" for number in range(5)]
    for name in reversed(names):
        client.create_job(parent=parent, job=http_job() | {"name": name})
    pages = client.list_jobs(request={"parent": parent, "page_size": 2}).pages
    assert [[job.name for job in page.jobs] for page in pages] == [names[:2], names[2:4], names[4:]]
    assert [job.name for job in client.list_jobs(parent=parent)] == names


def test_a_page_has_at_most_500_jobs(tmp_path: Path) -> None:
    (tmp_path / "cron.yaml").write_text(
        "cron:\n" + "".join(f"- {{url: /{number}, schedule: every day 03:00}}\n" for number in range(501))
    )
    declared = make_cron_jobs(load_cron_file(tmp_path / "cron.yaml"), "demo", "here")
    with scheduling(START, declared=tuple(declared)) as running:
        (first, second) = running.client.list_jobs(request={"parent": LOCATION, "page_size": 1000}).pages
        assert (len(first.jobs), len(second.jobs)) == (500, 1)


def test_a_deleted_job_is_gone_and_its_name_free(client: CloudSchedulerClient) -> None:
    client.create_job(parent=LOCATION, job=http_job("short"))
    client.delete_job(name=job_name("short"))
    with pytest.raises(exceptions.NotFound) as refusal:
        client.get_job(name=job_name("short"))
    assert refusal.value.message == "Job not found."
    client.create_job(parent=LOCATION, job=http_job("short"))


@pytest.mark.parametrize("method", ["get_job", "delete_job", "pause_job", "resume_job", "run_job"])
def test_a_job_that_is_missing_is_not_found(client: CloudSchedulerClient, method: str) -> None:
    with pytest.raises(exceptions.NotFound, match=r"Job not found\."):
        getattr(client, method)(name=job_name("missing"))


def test_an_update_makes_no_job(client: CloudSchedulerClient) -> None:
    with pytest.raises(exceptions.NotFound):
        client.update_job(job=http_job("missing"), update_mask={"paths": ["schedule"]})


def test_a_name_is_taken_while_its_job_lives(client: CloudSchedulerClient) -> None:
    client.create_job(parent=LOCATION, job=http_job("twice"))
    with pytest.raises(exceptions.AlreadyExists) as refusal:
        client.create_job(parent=LOCATION, job=http_job("twice"))
    assert refusal.value.message == f"Job {job_name('twice')} already exists."


def test_of_many_creates_of_one_name_one_makes_the_job(client: CloudSchedulerClient) -> None:
    def create(number: int) -> str:
        try:
            return client.create_job(parent=LOCATION, job=http_job("raced", description=str(number))).description
        except exceptions.AlreadyExists:
            return ""

    with ThreadPoolExecutor(8) as pool:
        made = [description for description in pool.map(create, range(32)) if description]
    assert made == [client.get_job(name=job_name("raced")).description]


def test_calls_on_a_job_that_comes_and_goes_find_it_or_not(client: CloudSchedulerClient) -> None:
    name, methods = job_name("coming-and-going"), ("create", "run", "get", "delete")

    def call(number: int) -> None:
        with suppress(exceptions.NotFound, exceptions.AlreadyExists):
            if methods[number % 4] == "create":
                client.create_job(parent=LOCATION, job=http_job("coming-and-going"))
            else:
                getattr(client, f"{methods[number % 4]}_job")(name=name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(400)))


# Updates.


def test_an_update_changes_what_its_mask_names(running: Scheduling, client: CloudSchedulerClient) -> None:
    client.create_job(parent=LOCATION, job=http_job("masked", description="old", attempt_deadline=timedelta(minutes=1)))
    updated = client.update_job(
        job={
            "name": job_name("masked"),
            "description": "not taken",
            "schedule": "0 * * * *",
            "http_target": {"headers": {"X-B": "c"}, "uri": "http://127.0.0.1:1/not-taken"},
        },
        update_mask={"paths": ["schedule", "http_target.headers", "attempt_deadline"]},
    )
    assert updated == client.get_job(name=job_name("masked"))
    assert (updated.description, updated.schedule) == ("old", "0 * * * *")
    assert updated.http_target.uri == "http://127.0.0.1:1/x"
    assert updated.http_target.headers == {"X-B": "c", "User-Agent": "Google-Cloud-Scheduler"}
    assert updated.attempt_deadline == timedelta(minutes=3)
    assert seconds(updated, "schedule_time") == at("2026-03-02T11:00")


def test_a_mask_may_name_a_nested_field(client: CloudSchedulerClient) -> None:
    client.create_job(parent=LOCATION, job=http_job("nested", retry_config={"retry_count": 2, "max_doublings": 3}))
    job = {"name": job_name("nested"), "retry_config": {"retry_count": 4, "max_doublings": 9}}
    updated = client.update_job(job=job, update_mask={"paths": ["retry_config.retry_count"]})
    assert (updated.retry_config.retry_count, updated.retry_config.max_doublings) == (4, 3)
    updated = client.update_job(job={"name": job_name("nested")}, update_mask={"paths": ["retry_config"]})
    assert (updated.retry_config.retry_count, updated.retry_config.max_doublings) == (0, 5)


def test_an_update_without_a_mask_changes_what_the_job_has(client: CloudSchedulerClient) -> None:
    client.create_job(parent=LOCATION, job=http_job("maskless", description="old"))
    updated = client.update_job(job={"name": job_name("maskless"), "time_zone": "Asia/Tokyo"})
    assert (updated.time_zone, updated.description, updated.schedule) == ("Asia/Tokyo", "old", "*/5 * * * *")


def test_an_update_may_give_another_kind_of_target(client: CloudSchedulerClient) -> None:
    client.create_job(parent=LOCATION, job=http_job("retargeted"))
    job = {"name": job_name("retargeted"), "pubsub_target": {"topic_name": "projects/demo/topics/abc", "data": b"x"}}
    updated = client.update_job(job=job, update_mask={"paths": ["pubsub_target"]})
    assert updated.pubsub_target.data == b"x"
    assert "http_target" not in updated


def test_an_update_keeps_a_paused_job_paused(client: CloudSchedulerClient) -> None:
    client.create_job(parent=LOCATION, job=http_job("resting"))
    client.pause_job(name=job_name("resting"))
    updated = client.update_job(
        job={"name": job_name("resting"), "schedule": "0 * * * *"}, update_mask={"paths": ["schedule"]}
    )
    assert (updated.state, "schedule_time" in updated) == (PAUSED, False)


def test_an_update_that_is_refused_changes_nothing(client: CloudSchedulerClient) -> None:
    created = client.create_job(parent=LOCATION, job=http_job("unharmed"))
    with pytest.raises(exceptions.InvalidArgument):
        client.update_job(job=http_job("unharmed", schedule="never"), update_mask={"paths": ["schedule"]})
    assert client.get_job(name=job_name("unharmed")) == created


@pytest.mark.parametrize("path", ["http_target.headers.X", "schedule.text", "retry_config.nothing", "nothing"])
def test_a_mask_of_no_field_is_refused(client: CloudSchedulerClient, path: str) -> None:
    job_id = "mask-" + path.replace(".", "-")
    client.create_job(parent=LOCATION, job=http_job(job_id))
    with pytest.raises(exceptions.InvalidArgument) as refusal:
        client.update_job(job=http_job(job_id), update_mask={"paths": [path]})
    assert refusal.value.message == f"Invalid mask for Job: {path}"


def test_the_refusals_that_others_reported(client: CloudSchedulerClient) -> None:
    rows = {row["case"]: row for row in RECORDED["rows"] if row["case"].startswith("issue/scheduler")}
    client.create_job(parent=LOCATION, job=http_job("reported"))
    calls = {
        "issue/scheduler-bad-schedule": lambda: client.create_job(parent=LOCATION, job=http_job(schedule="* * *")),
        "issue/scheduler-bad-mask": lambda: client.update_job(
            job=http_job("reported", time_zone="UTC"), update_mask={"paths": ["timeZone"]}
        ),
    }
    assert rows.keys() == calls.keys()
    for case, call in calls.items():
        with pytest.raises(exceptions.GoogleAPICallError) as refusal:
            call()
        assert refusal.value.grpc_status_code.name == rows[case]["code"]
        assert refusal.value.message == rows[case]["message"]


# States.


def test_a_job_pauses_only_while_enabled_and_resumes_only_while_paused(client: CloudSchedulerClient) -> None:
    name = client.create_job(parent=LOCATION, job=http_job("states")).name
    with pytest.raises(exceptions.FailedPrecondition):
        client.resume_job(name=name)
    paused = client.pause_job(name=name)
    assert (paused.state, client.get_job(name=name).state) == (PAUSED, PAUSED)
    with pytest.raises(exceptions.FailedPrecondition):
        client.pause_job(name=name)
    assert client.resume_job(name=name).state == ENABLED


def test_a_paused_job_fires_by_hand_alone(target: Target) -> None:
    with scheduling(START) as running:
        job = http_job("manual", http_target={"uri": target.url})
        running.client.create_job(parent=LOCATION, job=job)
        running.client.pause_job(name=job_name("manual"))
        running.move_to(at("2026-03-02T10:20:30"))
        assert target.pushes == []
        running.client.run_job(name=job_name("manual"))
        running.settle()
        (push,) = target.pushes
        assert push.headers["x-cloudscheduler-scheduletime"] == "2026-03-02T10:20:30Z"
        running.client.resume_job(name=job_name("manual"))
        running.move_to(at("2026-03-02T10:25"))
        assert len(target.pushes) == 2


# What is refused.


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": ""},
        {"schedule": "* * * * * *"},
        {"schedule": "@daily"},
        {"schedule": "61 * * * *"},
        {"time_zone": "Mars/Olympus"},
    ],
)
def test_a_schedule_or_time_zone_that_is_none_is_refused(client: CloudSchedulerClient, wrong: dict[str, Any]) -> None:
    with pytest.raises(exceptions.InvalidArgument) as refusal:
        client.create_job(parent=LOCATION, job=http_job(**wrong))
    assert refusal.value.message == "Schedule or time zone is invalid."


@pytest.mark.parametrize("zone", ["utc", "Etc/UTC", "America/Argentina/Buenos_Aires"])
def test_time_zones_are_those_of_the_tz_database_and_utc(client: CloudSchedulerClient, zone: str) -> None:
    assert client.create_job(parent=LOCATION, job=http_job(time_zone=zone)).time_zone == zone


@pytest.mark.parametrize(
    "name", ["x", "projects/demo/jobs/x", job_name("a.b"), job_name("x" * 501), "projects/demo/locations/here/queues/x"]
)
def test_a_name_that_is_not_formed_as_one_is_refused(client: CloudSchedulerClient, name: str) -> None:
    text = 'Job name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>/jobs/<JOB_ID>".'
    with pytest.raises(exceptions.InvalidArgument) as refusal:
        client.create_job(parent=LOCATION, job=http_job() | {"name": name})
    assert refusal.value.message == text


HTTP = "http://127.0.0.1:1/"
TOPIC = "projects/demo/topics/abc"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"http_target": None}, "Job.target is not set."),
    ({"description": "x" * 501}, "Job.description"),
    ({"name": "projects/demo/locations/there/jobs/x"}, "must lie in the location"),
    ({"attempt_deadline": timedelta(seconds=14)}, r"Job.attemptDeadline must be between \[15s, 30m\]\."),
    ({"attempt_deadline": timedelta(seconds=1801)}, r"Job.attemptDeadline must be between \[15s, 30m\]\."),
    ({"retry_config": {"retry_count": 6}}, "RetryConfig.retryCount"),
    ({"retry_config": {"retry_count": -1}}, "RetryConfig.retryCount"),
    ({"retry_config": {"max_doublings": -1}}, "RetryConfig.maxDoublings"),
    ({"retry_config": {"max_retry_duration": timedelta(seconds=-1)}}, "RetryConfig.maxRetryDuration"),
    (
        {"retry_config": {"max_backoff_duration": Duration(seconds=315_576_000_001)}},
        "RetryConfig.maxBackoffDuration must be at most",
    ),
    ({"retry_config": {"min_backoff_duration": timedelta(hours=2)}}, "RetryConfig.minBackoffDuration must be less"),
    ({"http_target": {"uri": ""}}, "HttpTarget.uri is required."),
    ({"http_target": {"uri": "ftp://x"}}, "must start with 'http://' or 'https://'"),
    ({"http_target": {"uri": "http://"}}, "names no host"),
    ({"http_target": {"uri": HTTP + "x" * 2083}}, "at most 2083"),
    ({"http_target": {"uri": HTTP, "http_method": "GET", "body": b"x"}}, "HttpTarget.body cannot be set"),
    ({"http_target": {"uri": HTTP, "http_method": 99}}, "HttpTarget.httpMethod"),
    ({"http_target": {"uri": HTTP, "headers": {"a b": "c"}}}, "is not a header"),
    ({"http_target": {"uri": HTTP, "headers": {"a": "c\r\nd: e"}}}, "is not a header"),
    ({"http_target": {"uri": HTTP, "headers": {"a": "c" * 81920}}}, "80KB"),
    ({"http_target": {"uri": HTTP, "oidc_token": {}}}, "OidcToken.serviceAccountEmail is required."),
    ({"http_target": {"uri": HTTP, "oauth_token": {"scope": "x"}}}, "OAuthToken.serviceAccountEmail is required."),
    (
        {"http_target": {"uri": "http://example.com", "oidc_token": {"service_account_email": "a@b.example"}}},
        "must start with 'https://'",
    ),
    ({"http_target": {"uri": HTTP, "body": b"x" * (1 << 20)}}, "Job size too large"),
    ({"app_engine_http_target": {"relative_uri": "x"}}, "must start with '/'"),
    ({"app_engine_http_target": {"relative_uri": "/a b"}}, "without spaces"),
    ({"app_engine_http_target": {"http_method": "PATCH"}}, "PATCH or OPTIONS"),
    ({"app_engine_http_target": {"http_method": "OPTIONS"}}, "PATCH or OPTIONS"),
    ({"app_engine_http_target": {"http_method": "DELETE", "body": b"x"}}, "AppEngineHttpTarget.body cannot be set"),
    ({"app_engine_http_target": {}, "attempt_deadline": timedelta(seconds=86416)}, r"between \[15s, 24h15s\]\."),
    ({"app_engine_http_target": {}, "attempt_deadline": timedelta(seconds=1)}, r"between \[15s, 24h15s\]\."),
    ({"pubsub_target": {"topic_name": "abc", "data": b"x"}}, "PubsubTarget.topicName must be formatted"),
    ({"pubsub_target": {"topic_name": "projects/other/topics/abc", "data": b"x"}}, "same project"),
    ({"pubsub_target": {"topic_name": TOPIC}}, "non-empty data, or at least one attribute"),
]


@pytest.mark.parametrize(("wrong", "text"), REFUSED)
def test_a_job_that_breaks_a_rule_is_refused(client: CloudSchedulerClient, wrong: dict[str, Any], text: str) -> None:
    job = http_job(**wrong)
    if wrong.keys() & {"app_engine_http_target", "pubsub_target"} or wrong.get("http_target", 1) is None:
        job.pop("http_target")
    with pytest.raises(exceptions.InvalidArgument, match=text):
        client.create_job(parent=LOCATION, job=job)


@pytest.mark.parametrize(
    "allowed",
    [
        {"app_engine_http_target": {}, "attempt_deadline": timedelta(seconds=86415)},
        {"app_engine_http_target": {"relative_uri": "/a?b=c#d"}, "attempt_deadline": timedelta(0)},
        {"pubsub_target": {"topic_name": TOPIC, "attributes": {"a": "b"}}, "attempt_deadline": timedelta(days=9)},
        {"pubsub_target": {"topic_name": TOPIC, "data": b"x"}},
        {"http_target": {"uri": HTTP}, "attempt_deadline": timedelta(seconds=15)},
        {"http_target": {"uri": HTTP}, "attempt_deadline": timedelta(seconds=1800)},
        {"http_target": {"uri": HTTP}, "description": "é" * 500},
        {"http_target": {"uri": HTTP}, "retry_config": {"retry_count": 5}},
    ],
)
def test_what_stands_at_a_limit_is_taken(client: CloudSchedulerClient, allowed: dict[str, Any]) -> None:
    job = http_job()
    job.pop("http_target")
    client.create_job(parent=LOCATION, job=job | allowed)


# Over restarts.


def test_jobs_outlive_the_server(tmp_path: Path, target: Target) -> None:
    target.answer = lambda push: 418
    with scheduling(START, tmp_path) as running:
        running.client.create_job(parent=LOCATION, job=http_job("kept", http_target={"uri": target.url}))
        running.client.create_job(parent=LOCATION, job=http_job("rests"))
        running.client.pause_job(name=job_name("rests"))
        running.move_to(at("2026-03-02T10:05"))
        before = list(running.client.list_jobs(parent=LOCATION))
    assert [(job.state, job.status.code) for job in before] == [(ENABLED, 2), (PAUSED, -1)]
    assert before[0].status.message == "HTTP status code 418"
    with scheduling(at("2026-03-02T10:06"), tmp_path) as running:
        assert list(running.client.list_jobs(parent=LOCATION)) == before


def test_a_run_that_a_kill_cut_off_is_sent_again(tmp_path: Path, target: Target) -> None:
    killed = threading.Event()
    target.answer = lambda push: 204 if len(target.pushes) > 1 or not killed.wait(WAIT) else 500
    server = start_server("--data", str(tmp_path))
    with connect(server.grpc) as client:
        job = http_job("killed", schedule="0 0 1 1 *", http_target={"uri": target.url})
        client.create_job(parent=LOCATION, job=job)
        client.run_job(name=job_name("killed"))
        target.wait_for(1)
    server.process.kill()
    server.process.wait(WAIT)
    killed.set()
    assert server.process.stdout is not None
    server.process.stdout.close()
    server = start_server("--data", str(tmp_path))
    first, second = target.wait_for(2)
    assert stop_server(server) == 0
    assert first.headers == second.headers


def test_the_last_attempt_is_shown(target: Target) -> None:
    statuses = iter([503, 204])
    target.answer = lambda push: next(statuses)
    with scheduling(START) as running:
        name = running.client.create_job(
            parent=LOCATION,
            job=http_job("shown", http_target={"uri": target.url}, retry_config={"retry_count": 1}),
        ).name
        running.move_to(at("2026-03-02T10:05"))
        job = running.client.get_job(name=name)
        assert (job.status.code, job.status.message) == (14, "HTTP status code 503")
        assert seconds(job, "last_attempt_time") == at("2026-03-02T10:05")
        assert seconds(job, "schedule_time") == at("2026-03-02T10:05:05")
        running.move_to(at("2026-03-02T10:05:05"))
        job = running.client.get_job(name=name)
        assert (job.status.code, job.status.message, "status" in job) == (0, "", True)
        assert seconds(job, "last_attempt_time") == at("2026-03-02T10:05:05")
        assert seconds(job, "schedule_time") == at("2026-03-02T10:10")


@pytest.mark.parametrize(("error", "code"), [(TargetTimedOut, 4), (TargetForbidden, 7), (ConnectionDropped, 14)])
def test_a_request_without_an_answer_is_shown_by_its_reason(error: type[PushFailed], code: int) -> None:
    progress = Progress("", START, attempted_at=START, outcome=Outcome(None, "why", error.code))
    status = job_message(Job(), progress, START).status
    assert (status.code, status.message) == (code, "why")
