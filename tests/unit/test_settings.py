"""Settings from the environment."""

from pathlib import Path

import pytest

from headrace.config.settings import Platform, load_settings
from headrace.errors import ConfigError

ACCOUNTS = {
    "HEADRACE_TASK_SERVICE_ACCOUNT": "tasks@project.iam.gserviceaccount.com",
    "HEADRACE_SCHEDULER_SERVICE_ACCOUNT": "scheduler@project.iam.gserviceaccount.com",
}
URL = {"HEADRACE_SERVICE_URL": "https://service.example"}


def test_an_empty_environment_is_a_developers_machine(tmp_path: Path) -> None:
    settings = load_settings({}, folder=tmp_path)

    assert settings.development
    assert settings.strict
    assert settings.app == tmp_path
    assert settings.data == tmp_path / ".headrace"
    assert settings.database_url == f"sqlite:///{tmp_path}/.headrace/application.db"
    assert (settings.project, settings.location) == ("headrace-dev", "local")
    assert settings.service_url == "http://127.0.0.1:8080"
    assert settings.task_service_account == "tasks@headrace-dev.iam.gserviceaccount.com"
    assert settings.scheduler_service_account == "scheduler@headrace-dev.iam.gserviceaccount.com"
    assert settings.token_issuer == "https://accounts.google.com"
    assert settings.admin_token is None
    assert (settings.tasks_emulator, settings.queue_server_url) == (None, None)
    assert (settings.workers, settings.threads) == (1, 16)
    assert settings.body_limit == 1024 * 1024
    assert settings.trusted_proxies == 0
    assert (settings.overdue, settings.split_lease, settings.lease_margin) == (60, 60, 15)


@pytest.mark.parametrize(
    ("variables", "release"),
    [
        ({}, None),
        ({"HEADRACE_RELEASE": "2026-11"}, "2026-11"),
        ({"K_SERVICE": "web", "K_REVISION": "web-00042", **ACCOUNTS, **URL}, "web-00042"),
        ({"GAE_ENV": "standard", "GAE_VERSION": "v7", **ACCOUNTS, **URL}, "v7"),
        ({"K_SERVICE": "web", "K_REVISION": "web-00042", "HEADRACE_RELEASE": "mine", **ACCOUNTS, **URL}, "mine"),
    ],
)
def test_a_release_is_what_was_set_or_what_the_platform_tells(variables: dict[str, str], release: str | None) -> None:
    assert load_settings(variables).release == release


def test_the_port_is_part_of_the_default_service_url() -> None:
    assert load_settings({"PORT": "9000"}).service_url == "http://127.0.0.1:9000"


def test_urls_lose_the_slash_at_their_end() -> None:
    settings = load_settings(
        {"HEADRACE_SERVICE_URL": "http://service.test/", "HEADRACE_TOKEN_ISSUER": "http://127.0.0.1:8124/"}
    )

    assert settings.service_url == "http://service.test"
    assert settings.token_issuer == "http://127.0.0.1:8124"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"HEADRACE_ADMIN_TOKEN": "", "PORT": ""}).admin_token is None


def test_the_project_of_the_cloud_is_the_default_project() -> None:
    assert load_settings({"GOOGLE_CLOUD_PROJECT": "our-project"}).project == "our-project"
    assert load_settings({"GOOGLE_CLOUD_PROJECT": "a", "HEADRACE_PROJECT": "b"}).project == "b"


@pytest.mark.parametrize(
    ("variables", "platform"),
    [
        ({"GAE_ENV": "standard"}, Platform.APP_ENGINE),
        ({"GAE_SERVICE": "api"}, Platform.APP_ENGINE),
        ({"K_SERVICE": "api"}, Platform.CLOUD_RUN),
    ],
)
def test_a_platform_is_production(variables: dict[str, str], platform: Platform) -> None:
    settings = load_settings(variables | ACCOUNTS | URL)

    assert settings.platform is platform
    assert settings.env == "production"
    assert not settings.strict


def test_production_requires_the_accounts_of_tasks_and_scheduler() -> None:
    assert faults_of({"HEADRACE_ENV": "production"}) == [
        "HEADRACE_SCHEDULER_SERVICE_ACCOUNT",
        "HEADRACE_TASK_SERVICE_ACCOUNT",
    ]


def test_app_engine_needs_no_account_of_a_scheduler() -> None:
    variables = {"GAE_ENV": "standard", **ACCOUNTS, **URL}
    del variables["HEADRACE_SCHEDULER_SERVICE_ACCOUNT"]

    assert load_settings(variables).scheduler_service_account is None


def test_a_platform_requires_the_url_that_queues_push_to() -> None:
    assert faults_of({"K_SERVICE": "api", **ACCOUNTS}) == ["HEADRACE_SERVICE_URL"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("HEADRACE_ENV", "../production"),
        ("HEADRACE_STRICT", "perhaps"),
        ("HEADRACE_SERVICE_URL", "service.example"),
        ("HEADRACE_TOKEN_ISSUER", "ftp://issuer.example"),
        ("HEADRACE_DATABASE_URL", "mysql://root@localhost/db"),
        ("HEADRACE_TASK_SERVICE_ACCOUNT", "tasks"),
        ("CLOUD_TASKS_EMULATOR_HOST", "http://127.0.0.1:8123"),
        ("HEADRACE_QUEUE_SERVER_URL", "127.0.0.1:8124"),
        ("WEB_CONCURRENCY", "0"),
        ("HEADRACE_THREADS", "many"),
        ("HEADRACE_BODY_LIMIT", "0"),
        ("HEADRACE_TRUSTED_PROXIES", "-1"),
        ("HEADRACE_OVERDUE", "0"),
        ("HEADRACE_OVERDUE_GRACE", "0"),
        ("HEADRACE_SPLIT_LEASE", "0.5"),
        ("HEADRACE_LEASE_MARGIN", "16"),
    ],
)
def test_a_bad_value_is_a_fault_that_names_its_variable(variable: str, value: str) -> None:
    assert faults_of({variable: value}) == [variable]


def test_all_bad_values_are_told_at_once() -> None:
    assert faults_of({"PORT": "x", "HEADRACE_STRICT": "x"}) == ["HEADRACE_STRICT", "PORT"]


def test_secrets_are_not_in_the_representation() -> None:
    settings = load_settings(
        {
            "HEADRACE_ADMIN_TOKEN": "swordfish",
            "HEADRACE_DATABASE_URL": "postgresql+psycopg://user:swordfish@host/db",
        }
    )

    assert "swordfish" not in repr(settings)


def test_a_bad_secret_is_not_told_in_its_fault() -> None:
    with pytest.raises(ConfigError) as raised:
        load_settings({"HEADRACE_DATABASE_URL": "mysql://user:swordfish@host/db"})

    assert "swordfish" not in str(raised.value)


def faults_of(variables: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_settings(variables)
    return [fault.message.partition(":")[0] for fault in raised.value.faults]


def test_a_test_clock_is_a_file_and_is_refused_in_production_and_on_platforms(tmp_path: Path) -> None:
    clock = {"HEADRACE_TEST_CLOCK": str(tmp_path / "clock")}

    assert load_settings({}).test_clock is None
    assert load_settings(clock).test_clock == tmp_path / "clock"
    for place in ({"HEADRACE_ENV": "production"}, {"K_SERVICE": "service"}, {"GAE_ENV": "standard"}):
        with pytest.raises(ConfigError, match="HEADRACE_TEST_CLOCK: Refused in production"):
            load_settings({**ACCOUNTS, **URL, **clock, **place})
