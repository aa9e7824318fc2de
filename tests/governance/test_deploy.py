"""The files for Google Cloud name only what exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config import load_cron_file, load_queue_file

APP = Path(__file__).resolve().parents[2]
GUIDE = (APP / "docs/deploy.md").read_text()
SETTINGS = set(re.findall(r"`((?:HEADRACE|CLOUD_TASKS)_[A-Z_]+|PORT)`", (APP / "docs/architecture.md").read_text()))
CLOUD_RUN: dict[str, Any] = yaml.safe_load((APP / "deploy/cloudrun/service.yaml").read_text())
APP_ENGINE: dict[str, Any] = yaml.safe_load((APP / "deploy/appengine/app.yaml").read_text())
DOCKERFILE = (APP / "Dockerfile").read_text()


def _container() -> dict[str, Any]:
    (container,) = CLOUD_RUN["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize(
    "names",
    [
        {each["name"] for each in _container()["env"]},
        set(APP_ENGINE["env_variables"]),
        set(re.findall(r"\b(?:HEADRACE|CLOUD_TASKS)_[A-Z_]+\b", DOCKERFILE)),
        set(re.findall(r"\b(?:HEADRACE|CLOUD_TASKS)_[A-Z_]+\b", GUIDE)),
    ],
    ids=["cloud run", "app engine", "Dockerfile", "docs/deploy.md"],
)
def test_every_variable_is_a_setting(names: set[str]):
    assert names
    assert names <= SETTINGS


def test_production_has_all_that_it_requires_and_no_queue_server():
    names = {each["name"] for each in _container()["env"]}
    required = {"HEADRACE_SERVICE_URL", "HEADRACE_TASK_SERVICE_ACCOUNT", "HEADRACE_SCHEDULER_SERVICE_ACCOUNT"}
    assert required | {"HEADRACE_DATABASE_URL", "HEADRACE_PROJECT", "HEADRACE_LOCATION"} <= names
    for found in (names, set(APP_ENGINE["env_variables"])):
        assert "CLOUD_TASKS_EMULATOR_HOST" not in found
        assert "HEADRACE_TOKEN_ISSUER" not in found


def test_secrets_stand_in_no_file():
    secrets = {each["name"]: each for each in _container()["env"] if "valueFrom" in each}
    assert set(secrets) == {"HEADRACE_DATABASE_URL", "HEADRACE_ADMIN_TOKEN"}
    for name in secrets:
        assert APP_ENGINE["env_variables"][name].startswith("${")


def test_an_instance_takes_no_more_requests_than_it_has_threads():
    assert CLOUD_RUN["spec"]["template"]["spec"]["containerConcurrency"] == 16
    assert APP_ENGINE["automatic_scaling"]["max_concurrent_requests"] == 16
    assert APP_ENGINE["runtime"] == "python313"


def test_the_image_runs_gunicorn_itself_and_not_as_root():
    lines = DOCKERFILE.splitlines()
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert int(user) >= 1000
    (command,) = [line for line in lines if line.startswith("CMD ")]
    assert command.startswith('CMD ["gunicorn", ')
    assert not any(line.startswith("ENTRYPOINT") for line in lines)
    assert all(line.split()[1] == "python:3.13-slim" for line in lines if line.startswith("FROM "))
    assert "--constraint constraints.txt" in DOCKERFILE


def test_what_the_image_copies_exists_and_is_not_ignored():
    allowed = {line[1:] for line in (APP / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    copied = {name for names in copies for name in names if not names[0].startswith("--from")}
    assert copied == allowed
    assert [name for name in copied if not (APP / name).exists()] == []


def test_the_guide_makes_the_queues_of_queue_yaml_with_their_limits():
    made = {}
    for command in re.findall(r"gcloud tasks queues create (.*?)\n(?=gcloud|```)", GUIDE, re.S):
        name, *flags = command.replace("\\\n", " ").split()
        made[name] = {key: value for key, _, value in (flag.partition("=") for flag in flags)}
    for queue in load_queue_file(APP / "queue.yaml").queues:
        flags = made.pop(queue.name)
        assert float(flags["--max-dispatches-per-second"]) == queue.rate_per_second
        assert int(flags["--max-concurrent-dispatches"]) == queue.max_concurrent_requests
        assert int(flags["--max-attempts"]) == queue.retry.limits.max_attempts
        assert flags["--max-retry-duration"] == f"{queue.retry.task_age_limit_seconds:g}s"
    assert made == {}


def test_the_guide_schedules_the_urls_of_cron_yaml():
    made = re.findall(r"^create \S+ '?([^'\s]+)'? '([^']+)' (\S+)$", GUIDE, re.M)
    entries = {entry.url: entry for entry in load_cron_file(APP / "cron.yaml").entries}
    assert {url for url, _, _ in made} == set(entries)
    for url, schedule, zone in made:
        assert zone == entries[url].timezone
        if entries[url].schedule == "every 1 minutes":
            assert schedule == "* * * * *"
    assert ("/v1/cron/synchronizeUserAccess", "0 23 * * *", "America/Chicago") in made


def test_the_guide_names_the_accounts_of_the_files():
    for account in ("runner", "tasks", "scheduler"):
        assert f"gcloud iam service-accounts create {account}\n" in GUIDE
        assert f"{account}@${{PROJECT}}.iam.gserviceaccount.com" in (APP / "deploy/cloudrun/service.yaml").read_text()
