"""queue.yaml: the queues and how fast, how often and how long each pushes.

Keys, defaults and limits are those of App Engine's queue.yaml as the gcloud SDK judges them (recorded in
`tests/vectors/queue_yaml.json`). `docs/files.md` lists them, and where Headrace is stricter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from marshmallow import ValidationError, fields

from headrace.config.document import Document, Keys, Place
from headrace.config.overlays import read_with_overlay
from headrace.config.schema import FileSchema, Parsed, RetrySchema, check, listed, refuse
from headrace.config.values import (
    DEFAULT_MAX_BACKOFF,
    DEFAULT_MAX_DOUBLINGS,
    DEFAULT_MIN_BACKOFF,
    duration,
    flag,
    matching,
    order_backoff,
    rate,
    seconds,
    size,
    text,
    whole,
)
from headrace.errors import Fault, Level
from headrace.retries import RetryLimits

DEFAULT_BUCKET_SIZE: Final = 5
DEFAULT_CONCURRENCY: Final = 1000
MAX_BUCKET_SIZE: Final = 500
MAX_CONCURRENCY: Final = 5000
MAX_RETRIES: Final = 10**6

_NAME: Final = "[A-Za-z0-9-]{1,100}"
_TARGET: Final = r"(?:(?!-)[a-z0-9-]{1,100}\.)?(?!-)[a-z0-9-]{1,63}"


@dataclass(frozen=True, slots=True)
class RetryParameters:
    """When a queue tries a task again. Backoffs are in seconds.

    `task_retry_limit` counts retries after the first try, None is without limit; `task_age_limit_seconds` 0
    is without limit. When both are set a task ends only after both are reached.
    """

    task_retry_limit: int | None = None
    task_age_limit_seconds: int = 0
    min_backoff_seconds: float = DEFAULT_MIN_BACKOFF
    max_backoff_seconds: float = DEFAULT_MAX_BACKOFF
    max_doublings: int = DEFAULT_MAX_DOUBLINGS

    @property
    def limits(self) -> RetryLimits:
        """As Cloud Tasks counts: attempts with the first try included, -1 is without limit."""
        return RetryLimits(
            max_attempts=-1 if self.task_retry_limit is None else self.task_retry_limit + 1,
            max_duration=self.task_age_limit_seconds,
            min_backoff=self.min_backoff_seconds,
            max_backoff=self.max_backoff_seconds,
            max_doublings=self.max_doublings,
        )


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One entry of `acl`: read and checked, used by nothing."""

    user_email: str | None = None
    writer_email: str | None = None


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One queue. Rate 0 is a queue that takes tasks and pushes none; `line` is where its entry begins."""

    name: str
    mode: str
    rate_per_second: float
    bucket_size: int
    max_concurrent_requests: int
    target: str | None
    retry: RetryParameters
    acl: tuple[AccessRule, ...]
    line: int


@dataclass(frozen=True, slots=True)
class QueueFile:
    """A queue.yaml, with its overlay where one was asked for.

    `total_storage_limit` is in bytes; it and `application` are read and checked, used by nothing.
    `warnings` are the faults that stop nobody.
    """

    path: Path
    queues: tuple[QueueEntry, ...]
    resume_paused_queues: bool = True
    total_storage_limit: int | None = None
    application: str | None = None
    warnings: tuple[Fault, ...] = field(default=(), compare=False)


def load_queue_file(path: Path, environment: str | None = None) -> QueueFile:
    """Read queue.yaml and, beside it, queue.<environment>.yaml if there is one.

    Raises ConfigError with every fault of both files.
    """
    document = read_with_overlay(path, environment, "queue", "name")
    loaded, faults = check(_QueueFileSchema(), document)
    refuse([*faults, *_named_twice(document)])
    entries = loaded.get("queue", [])
    return QueueFile(
        path=path,
        queues=tuple(_entry(entry, document.place(("queue", index)).line) for index, entry in enumerate(entries)),
        resume_paused_queues=loaded.get("resume_paused_queues", True),
        total_storage_limit=loaded.get("total_storage_limit"),
        application=loaded.get("application"),
        warnings=tuple(_warnings(entries, document)),
    )


def read_queue_entry(values: Mapping[str, Any]) -> QueueEntry:
    """A queue described as queue.yaml would, that comes from elsewhere. Raises ConfigError with every fault."""
    document = Document("queue", {"queue": [dict(values)]}, values={(): Place("queue", 0, 0)})
    loaded, faults = check(_QueueFileSchema(), document)
    refuse(faults)
    return _entry(loaded["queue"][0], 0)


def _entry(values: dict[str, Any], line: int) -> QueueEntry:
    concurrency = values.get("max_concurrent_requests") or DEFAULT_CONCURRENCY
    return QueueEntry(
        name=values["name"],
        mode=values.get("mode", "push"),
        rate_per_second=values["rate"],
        bucket_size=values.get("bucket_size") or DEFAULT_BUCKET_SIZE,
        max_concurrent_requests=min(concurrency, MAX_CONCURRENCY),
        target=values.get("target"),
        retry=_retry(values.get("retry_parameters", {})),
        acl=tuple(AccessRule(**rule) for rule in values.get("acl", [])),
        line=line,
    )


def _retry(values: dict[str, Any]) -> RetryParameters:
    least, most = order_backoff(values.get("min_backoff_seconds"), values.get("max_backoff_seconds"))
    return RetryParameters(
        task_retry_limit=values.get("task_retry_limit"),
        task_age_limit_seconds=values.get("task_age_limit", 0),
        min_backoff_seconds=least,
        max_backoff_seconds=most,
        max_doublings=values.get("max_doublings") or DEFAULT_MAX_DOUBLINGS,
    )


def _named_twice(document: Document) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, entry in document.entries("queue"):
        place = document.place(("queue", index, "name"))
        name = str(entry.get("name"))
        if name in first:
            yield place.fault(f'name: "{name}" is already the queue of line {first[name]}')
        if "name" in entry:
            first.setdefault(name, place.line)


def _warnings(entries: list[dict[str, Any]], document: Document) -> Iterator[Fault]:
    for index, entry in enumerate(entries):
        retry = entry.get("retry_parameters", {})
        found: list[tuple[Keys, str]] = []
        if "task_retry_limit" not in retry and "task_age_limit" not in retry:
            limits = "task_retry_limit or task_age_limit"
            found.append((("name",), f"retries without limit; set {limits} in retry_parameters"))
        if entry["rate"] == 0:
            found.append((("rate",), "rate 0: tasks wait and none is pushed"))
        if entry.get("max_concurrent_requests", 0) > MAX_CONCURRENCY:
            found.append((("max_concurrent_requests",), f"lowered to {MAX_CONCURRENCY}, the most there is"))
        if retry.get("max_doublings") == 0:
            doublings = f"0 doublings means {DEFAULT_MAX_DOUBLINGS}, the default, as gcloud deploys it"
            found.append((("retry_parameters", "max_doublings"), doublings))
        for keys, message in found:
            place = document.place(("queue", index, *keys))
            yield place.fault(f"{entry['name']}: {message}", Level.WARNING)


def _push(value: object) -> str:
    if value != "push":
        raise ValidationError("must be push; Headrace pushes every task and has no pull queues")
    return "push"


class _RetrySchema(RetrySchema):
    task_retry_limit = Parsed(whole(0, MAX_RETRIES))
    task_age_limit = Parsed(duration)
    min_backoff_seconds = Parsed(seconds)
    max_backoff_seconds = Parsed(seconds)
    max_doublings = Parsed(whole(0, MAX_RETRIES))


class _AccessRuleSchema(FileSchema):
    user_email = Parsed(text)
    writer_email = Parsed(text)


class _QueueSchema(FileSchema):
    name = Parsed(matching(_NAME, "must be 1 to 100 letters, digits or hyphens"), missing="is missing")
    mode = Parsed(_push)
    rate = Parsed(rate, missing="is missing; write how many tasks to push, such as 5/s")
    bucket_size = Parsed(whole(0, MAX_BUCKET_SIZE))
    max_concurrent_requests = Parsed(whole(0, 10**9))
    target = Parsed(matching(_TARGET, "must be service or version.service, in lower case"))
    retry_parameters = fields.Nested(_RetrySchema)
    acl = listed(_AccessRuleSchema)


class _QueueFileSchema(FileSchema):
    queue = listed(_QueueSchema)
    resume_paused_queues = Parsed(flag)
    total_storage_limit = Parsed(size)
    application = Parsed(text)
