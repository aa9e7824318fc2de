"""cron.yaml: which endpoint is called when.

Keys, defaults and limits are those of App Engine's cron.yaml as the gcloud SDK judges them (recorded in
`tests/vectors/cron_yaml.json`). gcloud leaves schedules and time zones to the server; here both are checked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from marshmallow import ValidationError, fields

from headrace.config.document import Document
from headrace.config.overlays import read_with_overlay
from headrace.config.schema import FileSchema, Parsed, RetrySchema, check, listed, refuse
from headrace.config.values import (
    DEFAULT_MAX_BACKOFF,
    DEFAULT_MAX_DOUBLINGS,
    DEFAULT_MIN_BACKOFF,
    duration,
    matching,
    order_backoff,
    seconds,
    sentence,
    shorter_than,
    text,
    whole,
)
from headrace.errors import Fault
from headrace.schedules import ScheduleError, TimezoneError, find_zone, parse_schedule

MAX_RETRIES: Final = 5

_URL: Final = r"/\S*"
_TARGET: Final = "(?:(?!-)[a-z0-9-]{1,63}:)?(?!-)[a-z0-9-]{1,100}"


@dataclass(frozen=True, slots=True)
class JobRetry:
    """When a call that failed is made again. Backoffs are in seconds.

    `job_retry_limit` None is not said; `job_age_limit_seconds` 0 is without limit.
    """

    job_retry_limit: int | None = None
    job_age_limit_seconds: int = 0
    min_backoff_seconds: float = DEFAULT_MIN_BACKOFF
    max_backoff_seconds: float = DEFAULT_MAX_BACKOFF
    max_doublings: int = DEFAULT_MAX_DOUBLINGS


@dataclass(frozen=True, slots=True)
class CronEntry:
    """One scheduled call. `parse_schedule(schedule, timezone)` gives its times and cannot fail.

    `retry` None: the entry says nothing about retries. `line` is where the entry begins in the base file.
    """

    url: str
    schedule: str
    timezone: str
    description: str
    target: str | None
    retry: JobRetry | None
    line: int


@dataclass(frozen=True, slots=True)
class CronFile:
    """A cron.yaml, with its overlay where one was asked for.

    `skipped` are the jobs that the overlay leaves out, each as (url, reason). `application` is read and
    checked, used by nothing.
    """

    path: Path
    entries: tuple[CronEntry, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    application: str | None = None


def load_cron_file(path: Path, environment: str | None = None) -> CronFile:
    """Read cron.yaml and, beside it, cron.<environment>.yaml if there is one.

    Raises ConfigError with every fault of both files.
    """
    document = read_with_overlay(path, environment, "cron", "url")
    loaded, faults = check(_CronFileSchema(), document)
    refuse([*faults, *_written_twice(document), *_skipped_in_base(document)])
    entries = list(enumerate(loaded.get("cron", [])))
    return CronFile(
        path=path,
        entries=tuple(
            _entry(entry, document.place(("cron", index)).line)
            for index, entry in entries
            if "skip_reason" not in entry
        ),
        skipped=tuple((entry["url"], entry["skip_reason"]) for _, entry in entries if "skip_reason" in entry),
        application=loaded.get("application"),
    )


def _entry(values: dict[str, Any], line: int) -> CronEntry:
    retry = values.get("retry_parameters")
    return CronEntry(
        url=values["url"],
        schedule=values["schedule"],
        timezone=values.get("timezone", "UTC"),
        description=values.get("description", ""),
        target=values.get("target"),
        retry=None if retry is None else _retry(retry),
        line=line,
    )


def _retry(values: dict[str, Any]) -> JobRetry:
    least, most = order_backoff(values.get("min_backoff_seconds"), values.get("max_backoff_seconds"))
    return JobRetry(
        job_retry_limit=values.get("job_retry_limit"),
        job_age_limit_seconds=values.get("job_age_limit", 0),
        min_backoff_seconds=least,
        max_backoff_seconds=most,
        max_doublings=values.get("max_doublings", DEFAULT_MAX_DOUBLINGS),
    )


def _written_twice(document: Document) -> Iterator[Fault]:
    """One url may have several schedules; the same one twice would call it twice at once."""
    first: dict[tuple[str, ...], int] = {}
    for index, entry in document.entries("cron"):
        job = (str(entry.get("url")), str(entry.get("schedule")), str(entry.get("timezone") or "UTC"))
        place = document.place(("cron", index, "url"))
        if job in first:
            yield place.fault(f"url: the same call at the same times as in line {first[job]}")
        first.setdefault(job, place.line)


def _skipped_in_base(document: Document) -> Iterator[Fault]:
    for index, _ in document.entries("cron"):
        place = document.keys.get(("cron", index, "skip_reason"))
        if place is not None and place.file == document.file:
            yield place.fault("skip_reason: belongs in an overlay, cron.<environment>.yaml")


def _schedule(value: object) -> str:
    found = sentence(value)
    try:
        return parse_schedule(found).text
    except ScheduleError as error:
        raise ValidationError(str(error)) from error


def _timezone(value: object) -> str:
    """The IANA name, in its own spelling."""
    found = sentence(value)
    try:
        return find_zone(found).name
    except TimezoneError as error:
        raise ValidationError(str(error)) from error


class _RetrySchema(RetrySchema):
    job_retry_limit = Parsed(whole(0, MAX_RETRIES))
    job_age_limit = Parsed(duration)
    min_backoff_seconds = Parsed(seconds)
    max_backoff_seconds = Parsed(seconds)
    max_doublings = Parsed(whole(0, 10**6))


class _CronSchema(FileSchema):
    url = Parsed(matching(_URL, "must be a path that begins with / and has no space"), missing="is missing")
    schedule = Parsed(_schedule, missing="is missing; write one such as every day 09:00")
    timezone = Parsed(_timezone)
    description = Parsed(shorter_than(500))
    target = Parsed(matching(_TARGET, "must be version or service:version, in lower case"))
    retry_parameters = fields.Nested(_RetrySchema)
    skip_reason = Parsed(matching(r"(?s).*\S.*", "must say why"))


class _CronFileSchema(FileSchema):
    cron = listed(_CronSchema)
    application = Parsed(text)
