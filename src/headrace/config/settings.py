"""What the service is told by its environment.

A setting is one environment variable; an empty one counts as not set. Nothing else in the service reads the
environment: the settings are loaded once, at the edge, and passed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from headrace.config.alerts import Route, load_routes
from headrace.errors import ConfigError, Fault

DEVELOPMENT = "development"
PRODUCTION = "production"
TEST = "test"
CLOUDTASKS = "cloudtasks"
INLINE = "inline"
DRIVERS = (CLOUDTASKS, INLINE)
"""What may carry tasks: Cloud Tasks, real or a queue server; the queue in the service's own process."""


class Platform(Enum):
    """Where the service runs, as the platform's own variables tell."""

    NONE = "none"
    APP_ENGINE = "app engine"
    CLOUD_RUN = "cloud run"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of the service, with defaults filled in. What is secret is not in `repr`.

    `service_url` has no slash at its end. It is the base of every push and the audience of every token.
    `scheduler_service_account` is None only on App Engine, where the cron header is enough. `workers` and `threads`
    are gunicorn's. `queue_server_url` is the REST side of the queue server; None where there is none, or none is known.
    `body_limit` and `claim_above` are in bytes. `trusted_proxies` counts the proxies whose X-Forwarded
    headers are believed. `overdue`, `split_lease` and `lease_margin` are in seconds: see `RunPolicy`; `overdue_grace`
    too: see `Watchdog`, and `stalled_after`: see `DatabaseProgress`. `shed_cpu` and `shed_memory` are the load above
    which handlers begin no batch, in percent; None is no limit. `test_clock` is the file of a clock that tests move.
    `driver` carries the tasks whose handler names none. `release` names what was deployed; None where nothing tells.
    `alert_routes` are where alerts are sent; `alert_repeat`, `alert_waiting` (seconds) and `alert_failure_share`
    (percent): see `Thresholds`; `heartbeat_url` hears from the sweeps while all is well. `task_inline_max_concurrent`
    caps the attempts that the service executes at once; 0 is no cap. `given` names the variables that were set.
    """

    app: Path
    env: str
    platform: Platform
    data: Path
    database_url: str = field(repr=False)
    project: str
    location: str
    service_url: str
    task_service_account: str
    scheduler_service_account: str | None
    token_issuer: str
    admin_token: str | None = field(repr=False)
    metrics_token: str | None = field(repr=False)
    tasks_emulator: str | None
    queue_server_url: str | None
    queue_server_token: str | None = field(repr=False)
    strict: bool
    port: int
    workers: int
    threads: int
    body_limit: int
    trusted_proxies: int
    overdue: float
    split_lease: float
    lease_margin: float
    claim_above: int
    overdue_grace: float
    stalled_after: float
    shed_cpu: float | None
    shed_memory: float | None
    test_clock: Path | None
    driver: str
    release: str | None
    alert_routes: tuple[Route, ...]
    alert_repeat: float
    alert_waiting: float
    alert_failure_share: float
    heartbeat_url: str | None = field(repr=False)
    task_inline_max_concurrent: int = 0
    given: frozenset[str] = frozenset()

    @property
    def development(self) -> bool:
        """Whether this is a developer's machine, where the cron header is believed on loopback."""
        return self.env == DEVELOPMENT


def load_settings(environment: Mapping[str, str], *, folder: Path | None = None) -> Settings:
    """Settings from environment variables; `folder`, if given, stands for HEADRACE_APP.

    Raises ConfigError with one fault for each variable that is wrong or missing.
    """
    given = {name: value for name, value in environment.items() if value != ""}
    if folder is not None:
        given["HEADRACE_APP"] = str(folder)
    platform = _platform(given)
    given.setdefault("HEADRACE_ENV", DEVELOPMENT if platform is Platform.NONE else PRODUCTION)
    try:
        values: dict[str, Any] = _Variables().load(given)
    except ValidationError as error:
        raise _config_error(error.messages_dict) from error
    env: str = values["env"]
    _require(_missing(given, env, platform) | _misplaced(given, env, platform))
    app: Path = Path(values["app"]).resolve()
    data = Path(values["data"]).resolve() if values["data"] else app / ".headrace"
    port: int = values["port"]
    return Settings(
        app=app,
        env=env,
        platform=platform,
        data=data,
        database_url=values["database_url"] or f"sqlite:///{data / 'application.db'}",
        project=values["project"] or given.get("GOOGLE_CLOUD_PROJECT", "headrace-dev"),
        location=values["location"],
        service_url=(values["service_url"] or f"http://127.0.0.1:{port}").rstrip("/"),
        task_service_account=values["task_account"] or _development_account("tasks"),
        scheduler_service_account=values["scheduler_account"]
        or (_development_account("scheduler") if env == DEVELOPMENT else None),
        token_issuer=values["token_issuer"].rstrip("/"),
        admin_token=values["admin_token"],
        metrics_token=values["metrics_token"],
        tasks_emulator=values["tasks_emulator"],
        queue_server_url=None if values["queue_server_url"] is None else values["queue_server_url"].rstrip("/"),
        queue_server_token=values["queue_server_token"],
        strict=env in {DEVELOPMENT, TEST} if values["strict"] is None else values["strict"],
        port=port,
        workers=values["workers"],
        threads=values["threads"],
        body_limit=values["body_limit"],
        trusted_proxies=values["trusted_proxies"],
        overdue=values["overdue"],
        split_lease=values["split_lease"],
        lease_margin=values["lease_margin"],
        claim_above=values["claim_above"],
        overdue_grace=values["overdue_grace"],
        stalled_after=values["stalled_after"],
        shed_cpu=values["shed_cpu"],
        shed_memory=values["shed_memory"],
        test_clock=None if values["test_clock"] is None else Path(values["test_clock"]).resolve(),
        driver=values["driver"],
        release=values["release"] or given.get("K_REVISION") or given.get("GAE_VERSION"),
        alert_routes=load_routes(given, app, need_secrets=env not in {DEVELOPMENT, TEST}),
        alert_repeat=values["alert_repeat"],
        alert_waiting=values["alert_waiting"],
        alert_failure_share=values["alert_failure_share"],
        heartbeat_url=values["heartbeat_url"],
        task_inline_max_concurrent=values["task_inline_max_concurrent"],
        given=frozenset(given),
    )


class _Variables(Schema):
    class Meta:
        unknown = EXCLUDE

    app = fields.String(data_key="HEADRACE_APP", load_default=".")
    env = fields.String(
        data_key="HEADRACE_ENV",
        validate=validate.Regexp(r"[a-z0-9][a-z0-9_-]*\Z", error="Only a-z, 0-9, - and _: it names files."),
    )
    data = fields.String(data_key="HEADRACE_DATA", load_default=None)
    database_url = fields.String(
        data_key="HEADRACE_DATABASE_URL",
        load_default=None,
        validate=validate.Regexp(
            r"(sqlite|postgresql\+psycopg)://", error="Give sqlite:///… or postgresql+psycopg://…."
        ),
    )
    project = fields.String(data_key="HEADRACE_PROJECT", load_default=None)
    location = fields.String(data_key="HEADRACE_LOCATION", load_default="local")
    service_url = fields.Url(
        data_key="HEADRACE_SERVICE_URL", load_default=None, require_tld=False, schemes={"http", "https"}
    )
    task_account = fields.Email(data_key="HEADRACE_TASK_SERVICE_ACCOUNT", load_default=None)
    scheduler_account = fields.Email(data_key="HEADRACE_SCHEDULER_SERVICE_ACCOUNT", load_default=None)
    token_issuer = fields.Url(
        data_key="HEADRACE_TOKEN_ISSUER",
        load_default="https://accounts.google.com",
        require_tld=False,
        schemes={"http", "https"},
    )
    admin_token = fields.String(data_key="HEADRACE_ADMIN_TOKEN", load_default=None)
    metrics_token = fields.String(data_key="HEADRACE_METRICS_TOKEN", load_default=None)
    tasks_emulator = fields.String(
        data_key="CLOUD_TASKS_EMULATOR_HOST",
        load_default=None,
        validate=validate.Regexp(r"[^/\s]+:\d+\Z", error="Give host:port."),
    )
    queue_server_url = fields.Url(
        data_key="HEADRACE_QUEUE_SERVER_URL", load_default=None, require_tld=False, schemes={"http", "https"}
    )
    queue_server_token = fields.String(data_key="HEADRACE_QUEUE_SERVER_TOKEN", load_default=None)
    strict = fields.Boolean(data_key="HEADRACE_STRICT", load_default=None)
    port = fields.Integer(data_key="PORT", load_default=8080, validate=validate.Range(1, 65535))
    workers = fields.Integer(data_key="WEB_CONCURRENCY", load_default=1, validate=validate.Range(1, 256))
    threads = fields.Integer(data_key="HEADRACE_THREADS", load_default=16, validate=validate.Range(1, 1000))
    body_limit = fields.Integer(
        data_key="HEADRACE_BODY_LIMIT", load_default=1024 * 1024, validate=validate.Range(min=1)
    )
    trusted_proxies = fields.Integer(
        data_key="HEADRACE_TRUSTED_PROXIES", load_default=0, validate=validate.Range(0, 10)
    )
    overdue = fields.Float(data_key="HEADRACE_OVERDUE", load_default=60.0, validate=validate.Range(0.1, 3_600))
    split_lease = fields.Float(data_key="HEADRACE_SPLIT_LEASE", load_default=60.0, validate=validate.Range(1, 3_600))
    # At most the default, which the order of limits is built on (contract/limits.py): shorter keeps that order.
    lease_margin = fields.Float(data_key="HEADRACE_LEASE_MARGIN", load_default=15.0, validate=validate.Range(0.1, 15))
    claim_above = fields.Integer(
        data_key="HEADRACE_CLAIM_ABOVE", load_default=100_000, validate=validate.Range(100, 1_000_000)
    )
    overdue_grace = fields.Float(
        data_key="HEADRACE_OVERDUE_GRACE", load_default=30.0, validate=validate.Range(0.1, 600)
    )
    stalled_after = fields.Float(
        data_key="HEADRACE_STALLED_AFTER", load_default=60.0, validate=validate.Range(1, 86_400)
    )
    shed_cpu = fields.Float(data_key="HEADRACE_SHED_CPU", load_default=None, validate=validate.Range(1, 100))
    shed_memory = fields.Float(data_key="HEADRACE_SHED_MEMORY", load_default=None, validate=validate.Range(1, 100))
    test_clock = fields.String(data_key="HEADRACE_TEST_CLOCK", load_default=None)
    driver = fields.String(data_key="HEADRACE_DRIVER", load_default=CLOUDTASKS, validate=validate.OneOf(DRIVERS))
    release = fields.String(data_key="HEADRACE_RELEASE", load_default=None)
    # Read by config/alerts.py.
    alert_routes = fields.String(data_key="HEADRACE_ALERT_ROUTES", load_default=None)
    alert_repeat = fields.Float(
        data_key="HEADRACE_ALERT_REPEAT", load_default=3_600.0, validate=validate.Range(0, 604_800)
    )
    alert_waiting = fields.Float(
        data_key="HEADRACE_ALERT_WAITING", load_default=600.0, validate=validate.Range(10, 604_800)
    )
    alert_failure_share = fields.Float(
        data_key="HEADRACE_ALERT_FAILURE_SHARE", load_default=50.0, validate=validate.Range(1, 100)
    )
    task_inline_max_concurrent = fields.Integer(
        data_key="HEADRACE_TASK_INLINE_MAX_CONCURRENT", load_default=0, validate=validate.Range(0, 10_000)
    )
    heartbeat_url = fields.Url(
        data_key="HEADRACE_HEARTBEAT_URL", load_default=None, require_tld=False, schemes={"http", "https"}
    )


def _platform(given: Mapping[str, str]) -> Platform:
    # Both platforms set these themselves and forbid applications to: GAE_ENV, GAE_SERVICE and K_SERVICE are
    # named in the documents of App Engine's and Cloud Run's runtime contracts.
    if "GAE_ENV" in given or "GAE_SERVICE" in given:
        return Platform.APP_ENGINE
    return Platform.CLOUD_RUN if "K_SERVICE" in given else Platform.NONE


def _missing(given: Mapping[str, str], env: str, platform: Platform) -> dict[str, list[str]]:
    missing: dict[str, list[str]] = {}
    if env != DEVELOPMENT:
        if "HEADRACE_TASK_SERVICE_ACCOUNT" not in given:
            missing["HEADRACE_TASK_SERVICE_ACCOUNT"] = [
                "Required outside development: the account whose token pushes carry."
            ]
        if "HEADRACE_SCHEDULER_SERVICE_ACCOUNT" not in given and platform is not Platform.APP_ENGINE:
            missing["HEADRACE_SCHEDULER_SERVICE_ACCOUNT"] = [
                "Required outside development, off App Engine: the account whose token cron calls carry."
            ]
    if platform is not Platform.NONE and "HEADRACE_SERVICE_URL" not in given:
        missing["HEADRACE_SERVICE_URL"] = [
            f"Required on {platform.value.title()}: the URL that queues push to, and the audience of their tokens."
        ]
    return missing


def _misplaced(given: Mapping[str, str], env: str, platform: Platform) -> dict[str, list[str]]:
    if "HEADRACE_TEST_CLOCK" in given and (env == PRODUCTION or platform is not Platform.NONE):
        return {
            "HEADRACE_TEST_CLOCK": ["Refused in production: tests move that clock, and with it every lease and token."]
        }
    return {}


def _require(missing: Mapping[str, list[str]]) -> None:
    if missing:
        raise _config_error(missing)


def _config_error(messages: Mapping[str, list[str]]) -> ConfigError:
    return ConfigError(
        [Fault("environment", 0, 0, f"{variable}: {' '.join(texts)}") for variable, texts in sorted(messages.items())]
    )


def _development_account(name: str) -> str:
    return f"{name}@headrace-dev.iam.gserviceaccount.com"
