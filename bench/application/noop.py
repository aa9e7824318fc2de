"""Jobs that do nothing, for measuring what is around the work: batches of one number over four queues."""

import os
from collections.abc import Iterator

from sqlalchemy import Connection

from headrace import Batch, Job


def numbers(connection: Connection, after: int | None) -> Iterator[int]:
    """1 to HEADRACE_BENCH_ITEMS."""
    del connection
    yield from range((after or 0) + 1, int(os.environ.get("HEADRACE_BENCH_ITEMS", "1000")) + 1)


def start_a(job: Job) -> None:
    """Split over queue a."""
    job.split(work_a, items=numbers)


def start_b(job: Job) -> None:
    """Split over queue b."""
    job.split(work_b, items=numbers)


def start_c(job: Job) -> None:
    """Split over queue c."""
    job.split(work_c, items=numbers)


def start_d(job: Job) -> None:
    """Split over queue d."""
    job.split(work_d, items=numbers)


def start_large(job: Job) -> None:
    """Split into batches of 50, on a queue that is paused."""
    job.split(work_large, items=numbers)


def work_a(batch: Batch) -> None:
    """Nothing."""


def work_b(batch: Batch) -> None:
    """Nothing."""


def work_c(batch: Batch) -> None:
    """Nothing."""


def work_d(batch: Batch) -> None:
    """Nothing."""


def work_large(batch: Batch) -> None:
    """Nothing."""
