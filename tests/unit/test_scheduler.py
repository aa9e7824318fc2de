"""Cron jobs: which firing comes next, and what a crash, a failure or a slow handler does to it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from headrace.clock import ManualClock
from headrace.engine.errors import StoreUnavailable, TargetTimedOut
from headrace.engine.model import OidcToken, RetryLimits
from headrace.engine.scheduler import (
    CronJob,
    Progress,
    Scheduler,
    firing_headers,
    following,
    next_attempt_at,
    resume,
)
from headrace.schedules import parse_schedule

EVERY_FIVE = parse_schedule("every 5 minutes synchronized")
INTERVAL = parse_schedule("every 5 minutes")
NO_RETRY = RetryLimits(1, 0, 0, 0, 0)
THREE_RETRIES = RetryLimits(4, 0, 10, 100, 5)


def at(text: str) -> float:
    """Seconds since the epoch of a time of one day."""
    return datetime.fromisoformat(f"2026-03-02T{text}").replace(tzinfo=UTC).timestamp()


class Memory:
    """A store of progress that outlives the scheduler, as a disk does; `broken` refuses writes."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[float, float | None]] = {}
        self.broken = False

    async def load_schedules(self) -> dict[str, tuple[float, float | None]]:
        return dict(self.kept)

    async def save_schedule(self, key: str, next_at: float, last_scheduled_at: float | None) -> None:
        if self.broken:
            raise StoreUnavailable("the disk is full")
        self.kept[key] = (next_at, last_scheduled_at)

    async def delete_schedule(self, key: str) -> None:
        del self.kept[key]


class Handler:
    """Where firings go. Each request waits in `arrived`; `answers` decides what becomes of it."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
        self.answers: asyncio.Queue[int | Exception] = asyncio.Queue()

    async def send(self, job: CronJob, scheduled_at: float) -> int:
        self.arrived.put_nowait((job.name, scheduled_at))
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


class House:
    """A scheduler with one job on a manual clock, to be started and killed at will."""

    def __init__(self, now: float, retry: RetryLimits = NO_RETRY, schedule: object = EVERY_FIVE) -> None:
        self.clock = ManualClock(now)
        self.memory = Memory()
        self.handler = Handler()
        self.job = CronJob("nightly", "cron/nightly", "http://service/v1/cron/nightly", schedule, retry, None)  # type: ignore[arg-type]
        self.scheduler: Scheduler

    async def start(self) -> None:
        self.scheduler = Scheduler([self.job], self.memory, self.clock, self.handler.send)
        await self.scheduler.start()

    async def crash(self) -> None:
        """Nothing is waited for: what is under way is lost."""
        await self.scheduler.stop(grace=0)

    async def move_to(self, when: float) -> None:
        """Let the clock reach `when`, and everybody see it."""
        await settle()
        self.clock.advance(when - self.clock.now())
        self.scheduler.clock_moved()
        await settle()

    async def firing(self) -> float:
        async with asyncio.timeout(5):
            return (await self.handler.arrived.get())[1]

    async def answer(self, answer: int | Exception) -> None:
        self.handler.answers.put_nowait(answer)
        await settle()


async def settle() -> None:
    """Let every coroutine run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


def test_a_new_job_fires_at_its_next_time() -> None:
    assert resume(EVERY_FIVE, None, at("10:02:30")) == Progress(at("10:05"))


def test_a_job_whose_time_is_still_to_come_keeps_it() -> None:
    kept = Progress(at("10:05"), at("10:00"))
    assert resume(EVERY_FIVE, kept, at("10:02")) == kept


def test_a_firing_that_was_missed_is_not_replayed() -> None:
    kept = Progress(at("10:05"), at("10:00"))
    assert resume(EVERY_FIVE, kept, at("11:02")) == Progress(at("11:05"), at("10:00"))


def test_a_firing_that_was_cut_off_is_taken_up_again() -> None:
    kept = Progress(at("10:05"), at("10:05"))
    assert resume(EVERY_FIVE, kept, at("11:02")) == kept
    assert kept.outstanding


def test_a_plain_interval_counts_from_the_scheduled_time() -> None:
    assert following(INTERVAL, at("10:01"), at("10:03:20")) == at("10:06")


def test_a_late_start_is_delayed_and_the_next_one_keeps_its_time() -> None:
    assert following(EVERY_FIVE, at("10:00"), at("10:04:59")) == at("10:05")


def test_times_that_a_very_late_start_ran_over_are_dropped() -> None:
    assert following(EVERY_FIVE, at("10:00"), at("18:02")) == at("18:05")


@pytest.mark.parametrize(
    ("failures", "expected"),
    [(1, 10), (2, 20), (3, 40), (4, None)],
)
def test_retries_wait_their_backoff_until_their_limit(failures: int, expected: float | None) -> None:
    assert next_attempt_at(THREE_RETRIES, failures, 0, 0, until=10_000) == expected


def test_retries_stop_at_the_next_scheduled_time() -> None:
    assert next_attempt_at(THREE_RETRIES, 1, 0, now=85, until=100) == 95
    assert next_attempt_at(THREE_RETRIES, 1, 0, now=90, until=100) is None


def test_the_headers_of_a_firing() -> None:
    job = CronJob("nightly", "k", "http://service/x", EVERY_FIVE, NO_RETRY, OidcToken("s@example.com", "a"))
    assert firing_headers(job, at("10:05"), "TOKEN") == [
        ("User-Agent", "Google-Cloud-Scheduler"),
        ("X-Appengine-Cron", "true"),
        ("X-CloudScheduler", "true"),
        ("X-CloudScheduler-JobName", "nightly"),
        ("X-CloudScheduler-ScheduleTime", "2026-03-02T10:05:00Z"),
        ("Authorization", "Bearer TOKEN"),
    ]


def test_a_job_fires_at_each_of_its_times() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        for time in ("10:05", "10:10", "10:15"):
            await house.move_to(at(time) - 1)
            assert house.handler.arrived.empty()
            await house.move_to(at(time))
            assert await house.firing() == at(time)
            await house.answer(204)
        await house.crash()

    run(scenario)


def test_a_firing_cut_off_by_a_crash_is_sent_again_with_its_own_time() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        await house.move_to(at("10:05"))
        assert await house.firing() == at("10:05")
        await house.crash()
        house.clock.advance(120)
        await house.start()
        assert await house.firing() == at("10:05")
        await house.answer(204)
        assert house.memory.kept["cron/nightly"] == (at("10:10"), at("10:05"))
        await house.crash()

    run(scenario)


def test_a_finished_firing_is_not_sent_again_after_a_restart() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        await house.answer(204)
        await house.crash()
        await house.start()
        await settle()
        assert house.handler.arrived.empty()
        await house.move_to(at("10:10"))
        assert await house.firing() == at("10:10")
        await house.crash()

    run(scenario)


def test_a_firing_waits_for_the_one_before_it() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        await house.move_to(at("10:12"))
        assert house.handler.arrived.empty()
        await house.answer(204)
        assert await house.firing() == at("10:10")
        await house.crash()

    run(scenario)


@pytest.mark.parametrize("failure", [500, 302, TargetTimedOut("no answer")])
def test_a_failed_firing_is_retried_with_the_same_time(failure: int | Exception) -> None:
    async def scenario() -> None:
        house = House(at("10:02"), THREE_RETRIES)
        await house.start()
        await house.move_to(at("10:05"))
        assert await house.firing() == at("10:05")
        await house.answer(failure)
        await house.move_to(at("10:05:09"))
        assert house.handler.arrived.empty()
        await house.move_to(at("10:05:10"))
        assert await house.firing() == at("10:05")
        await house.answer(204)
        await house.move_to(at("10:09:59"))
        assert house.handler.arrived.empty()
        await house.crash()

    run(scenario)


def test_a_firing_that_is_given_up_lets_the_next_one_come() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        await house.answer(500)
        await house.move_to(at("10:10"))
        assert await house.firing() == at("10:10")
        await house.crash()

    run(scenario)


def test_stopping_waits_for_the_request_under_way() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        stopping = asyncio.create_task(house.scheduler.stop(grace=5))
        await settle()
        assert not stopping.done()
        await house.answer(204)
        await stopping
        assert house.memory.kept["cron/nightly"] == (at("10:10"), at("10:05"))

    run(scenario)


def test_a_firing_that_failed_while_stopping_is_left_for_the_next_start() -> None:
    async def scenario() -> None:
        house = House(at("10:02"), THREE_RETRIES)
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        stopping = asyncio.create_task(house.scheduler.stop(grace=5))
        await settle()
        await house.answer(500)
        await stopping
        assert house.memory.kept["cron/nightly"] == (at("10:05"), at("10:05"))

    run(scenario)


def test_a_job_fires_even_when_its_progress_cannot_be_written() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        house.memory.broken = True
        await house.move_to(at("10:05"))
        assert await house.firing() == at("10:05")
        await house.crash()

    run(scenario)


def test_what_is_kept_of_a_job_that_is_no_more_is_forgotten() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        house.memory.kept["cron/old"] = (at("10:05"), None)
        await house.start()
        assert set(house.memory.kept) == {"cron/nightly"}
        await house.crash()

    run(scenario)
