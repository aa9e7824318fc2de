"""Jobs on a manual clock: which request comes next, and what a crash, a failure or a slow handler does to it."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from headrace.clock import ManualClock
from headrace.engine.errors import StoreUnavailable, TargetTimedOut
from headrace.engine.firings import Firing, Progress, begin, conclude, decode_progress, encode_progress, force, resume
from headrace.engine.jobs import Job, JobState, JobTarget, Outcome, Schedule
from headrace.engine.model import AppEngineRouting, AppEngineTarget, HttpTarget
from headrace.engine.scheduler import PROGRESS, Scheduler
from headrace.retries import RetryLimits
from headrace.schedules import parse_schedule

EVERY_FIVE = parse_schedule("every 5 minutes synchronized")
INTERVAL = parse_schedule("every 5 minutes")
NO_RETRY = RetryLimits(1, 0, 10, 100, 5)
THREE_RETRIES = RetryLimits(4, 0, 10, 100, 5)
HTTP = HttpTarget("http://service/nightly", "GET", (), b"", None)
APP_ENGINE = AppEngineTarget("/nightly", "GET", (), b"", AppEngineRouting("", "", ""))
NAME = "projects/p/locations/l/jobs/nightly"


def at(text: str) -> float:
    """Seconds since the epoch of a time of one day."""
    return datetime.fromisoformat(f"2026-03-02T{text}").replace(tzinfo=UTC).timestamp()


def a_job(
    schedule: Schedule = EVERY_FIVE,
    retry: RetryLimits = NO_RETRY,
    target: JobTarget = HTTP,
    state: JobState = JobState.ENABLED,
    name: str = NAME,
) -> Job:
    return Job(name, schedule, target, retry, 180.0, state)


class Memory:
    """A store of documents that outlives the scheduler, as a disk does; `broken` refuses writes."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.broken = False

    @property
    def kept(self) -> dict[str, Progress]:
        return {name: decode_progress(document) for name, document in self.documents.items()}

    async def load_documents(self, kind: str) -> dict[str, bytes]:
        assert kind == PROGRESS
        return dict(self.documents)

    async def save_document(self, kind: str, key: str, document: bytes) -> None:
        if self.broken:
            raise StoreUnavailable("the disk is full")
        self.documents[key] = document

    async def delete_document(self, kind: str, key: str) -> None:
        self.documents.pop(key, None)


class Handler:
    """Where firings go. Each request waits in `arrived`; `answers` decides what becomes of it."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
        self.answers: asyncio.Queue[int | Exception] = asyncio.Queue()

    async def send(self, job: Job, scheduled_at: float) -> int:
        self.arrived.put_nowait((job.name, scheduled_at))
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


class House:
    """A scheduler with one job on a manual clock, to be started and killed at will."""

    def __init__(self, now: float, job: Job | None = None) -> None:
        self.clock = ManualClock(now)
        self.memory = Memory()
        self.handler = Handler()
        self.job = job or a_job()
        self.scheduler: Scheduler

    async def start(self) -> None:
        self.scheduler = Scheduler(self.memory, self.clock, self.handler.send)
        await self.scheduler.load()
        await self.scheduler.put(self.job)
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

    @property
    def progress(self) -> Progress:
        """As it is kept."""
        return self.memory.kept[NAME]


async def settle() -> None:
    """Let every coroutine run until it waits."""
    for _ in range(30):
        await asyncio.sleep(0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


TIMING = a_job().timing


def test_a_new_job_fires_at_its_next_time() -> None:
    assert resume(a_job(), None, at("10:02:30")) == Progress(TIMING, at("10:05"))


def test_a_job_whose_time_is_still_to_come_keeps_it() -> None:
    kept = Progress(a_job(INTERVAL).timing, at("10:04:30"))
    assert resume(a_job(INTERVAL), kept, at("10:02")) == kept


def test_a_firing_that_was_missed_is_not_replayed() -> None:
    kept = Progress(TIMING, at("10:05"), attempted_at=at("10:00"), outcome=Outcome(204))
    assert resume(a_job(), kept, at("11:02")) == replace(kept, next_at=at("11:05"))


def test_a_firing_that_was_cut_off_is_taken_up_again() -> None:
    kept = begin(a_job(), Progress(TIMING, at("10:05")), at("10:05"))
    resumed = resume(a_job(), kept, at("11:02"))
    assert resumed.firings == (Firing(1, at("10:05"), at("10:05"), at("10:05")),)
    assert resumed.next_at == at("11:05")


def test_another_schedule_counts_from_now() -> None:
    kept = Progress(TIMING, at("10:05"))
    hourly = a_job(parse_schedule("0 * * * *"))
    assert resume(hourly, kept, at("10:02")) == Progress(hourly.timing, at("11:00"))


def test_a_plain_interval_counts_from_the_scheduled_time() -> None:
    job = a_job(INTERVAL)
    assert begin(job, Progress(job.timing, at("10:01")), at("10:03:20")).next_at == at("10:06")


def test_a_late_start_is_delayed_and_the_next_one_keeps_its_time() -> None:
    begun = begin(a_job(), Progress(TIMING, at("10:00")), at("10:04:59"))
    assert begun.next_at == at("10:05")
    assert begun.firings == (Firing(1, at("10:00"), at("10:04:59"), at("10:04:59")),)


def test_times_that_a_very_late_start_ran_over_are_dropped() -> None:
    assert begin(a_job(), Progress(TIMING, at("10:00")), at("18:02")).next_at == at("18:05")


def test_progress_is_read_back_as_it_was_written() -> None:
    progress = force(begin(a_job(), Progress(TIMING, at("10:00")), at("10:01")), at("10:02"))
    assert decode_progress(encode_progress(progress)) == progress
    progress = conclude(a_job(), progress, 1, Outcome(None, "no answer", "TARGET_TIMED_OUT"), at("10:03"))
    assert decode_progress(encode_progress(progress)) == progress


def after_failures(job: Job, count: int, *, next_at: float, status: int = 500) -> list[float]:
    """When a firing that began at 0 is sent again, after each failure; each answer comes at once."""
    progress = force(Progress(job.timing, next_at), 0.0)
    times: list[float] = []
    for _ in range(count):
        progress = conclude(job, progress, 1, Outcome(status), times[-1] if times else 0.0)
        if not progress.firings:
            break
        times.append(progress.firings[0].attempt_at)
    return times


def test_retries_wait_their_backoff_until_their_limit() -> None:
    assert after_failures(a_job(retry=THREE_RETRIES), 9, next_at=math.inf) == [10, 30, 70]


def test_waits_double_then_grow_by_a_step_then_stay() -> None:
    times = after_failures(a_job(retry=RetryLimits(9, 0, 10, 300, 3)), 9, next_at=math.inf)
    waits = [after - before for before, after in zip([0, *times], times, strict=False)]
    assert waits == [10, 20, 40, 80, 160, 240, 300, 300]


def test_a_job_without_a_retry_count_is_not_retried() -> None:
    assert after_failures(a_job(), 1, next_at=math.inf) == []


def test_with_both_limits_retries_end_when_both_are_reached() -> None:
    assert after_failures(a_job(retry=RetryLimits(2, 45, 10, 10, 0)), 9, next_at=math.inf) == [10, 20, 30, 40, 50]
    assert after_failures(a_job(retry=RetryLimits(4, 5, 10, 10, 0)), 9, next_at=math.inf) == [10, 20, 30]


def test_retries_stop_at_the_next_scheduled_time() -> None:
    assert after_failures(a_job(retry=THREE_RETRIES), 9, next_at=70) == [10, 30]
    assert after_failures(a_job(retry=THREE_RETRIES), 9, next_at=70.5) == [10, 30, 70]


def test_a_503_of_app_engine_is_retried_and_not_counted() -> None:
    job = a_job(target=APP_ENGINE, retry=NO_RETRY)
    assert after_failures(job, 3, next_at=math.inf, status=503) == [5, 15, 35]
    assert after_failures(job, 9, next_at=30, status=503) == [5, 15]
    assert after_failures(job, 3, next_at=math.inf, status=500) == []
    assert after_failures(a_job(), 3, next_at=math.inf, status=503) == []


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
        assert (house.progress.next_at, house.progress.firings) == (at("10:10"), ())
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
        house = House(at("10:02"), a_job(retry=THREE_RETRIES))
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
        assert (house.progress.next_at, house.progress.firings) == (at("10:10"), ())

    run(scenario)


def test_a_firing_that_failed_while_stopping_is_left_for_the_next_start() -> None:
    async def scenario() -> None:
        house = House(at("10:02"), a_job(retry=THREE_RETRIES))
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        stopping = asyncio.create_task(house.scheduler.stop(grace=5))
        await settle()
        await house.answer(500)
        await stopping
        (firing,) = house.progress.firings
        assert (firing.scheduled_at, firing.attempt_at, firing.failures) == (at("10:05"), at("10:05:10"), 1)

    run(scenario)


def test_a_retry_that_waits_survives_a_crash() -> None:
    async def scenario() -> None:
        house = House(at("10:02"), a_job(retry=THREE_RETRIES))
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        await house.answer(500)
        await house.crash()
        await house.start()
        await house.move_to(at("10:05:09"))
        assert house.handler.arrived.empty()
        await house.move_to(at("10:05:10"))
        assert await house.firing() == at("10:05")
        await house.crash()

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
        house.memory.documents["old"] = encode_progress(Progress("0 * * * * UTC", at("10:05")))
        await house.start()
        assert set(house.memory.kept) == {NAME}
        await house.crash()

    run(scenario)


def test_a_job_that_is_run_fires_at_once_even_while_it_is_running() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        await house.move_to(at("10:05"))
        assert await house.firing() == at("10:05")
        await house.move_to(at("10:06"))
        await house.scheduler.run(NAME)
        assert len(house.progress.firings) == 2
        assert await house.firing() == at("10:06")
        await house.answer(204)
        await house.move_to(at("10:10"))
        assert house.handler.arrived.empty()
        await house.answer(204)
        assert await house.firing() == at("10:10")
        await house.crash()

    run(scenario)


def test_a_run_that_was_answered_survives_a_crash() -> None:
    async def scenario() -> None:
        house = House(at("10:02"), a_job(state=JobState.PAUSED))
        await house.start()
        await house.scheduler.run(NAME)
        await house.crash()
        house.handler = Handler()
        house.clock.advance(3600)
        await house.start()
        assert await house.firing() == at("10:02")
        await house.crash()

    run(scenario)


def test_a_run_that_is_not_on_disk_is_not_answered() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        house.memory.broken = True
        with pytest.raises(StoreUnavailable):
            await house.scheduler.run(NAME)
        await house.crash()

    run(scenario)


def test_a_paused_job_rests_and_then_goes_on_from_now() -> None:
    async def scenario() -> None:
        house = House(at("10:02"))
        await house.start()
        await house.scheduler.put(a_job(state=JobState.PAUSED))
        await house.move_to(at("10:12"))
        assert house.handler.arrived.empty()
        assert house.scheduler.next_due() == math.inf
        await house.scheduler.put(a_job())
        assert house.scheduler.next_due() == at("10:15")
        await house.move_to(at("10:15"))
        assert await house.firing() == at("10:15")
        await house.crash()

    run(scenario)


@pytest.mark.parametrize("pause_during_request", [True, False])
def test_a_pause_ends_the_retries(pause_during_request: bool) -> None:
    async def scenario() -> None:
        house = House(at("10:02"), a_job(retry=THREE_RETRIES))
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        if not pause_during_request:
            await house.answer(500)
        await house.scheduler.put(a_job(retry=THREE_RETRIES, state=JobState.PAUSED))
        if pause_during_request:
            await house.answer(500)
        assert house.progress.firings == ()
        assert house.scheduler.idle
        await house.crash()

    run(scenario)


def test_a_change_lets_the_firing_under_way_end_and_its_retries_go_to_the_new_target() -> None:
    async def scenario() -> None:
        house = House(at("10:02"), a_job(retry=THREE_RETRIES))
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        await house.scheduler.put(a_job(parse_schedule("0 * * * *"), THREE_RETRIES))
        await house.answer(500)
        assert house.scheduler.next_due() == at("10:05:10")
        await house.move_to(at("10:05:10"))
        assert await house.firing() == at("10:05")
        await house.answer(204)
        assert house.scheduler.next_due() == at("11:00")
        await house.crash()

    run(scenario)


def test_what_a_removed_job_does_counts_no_more() -> None:
    async def scenario() -> None:
        house = House(at("10:02"), a_job(retry=THREE_RETRIES))
        await house.start()
        await house.move_to(at("10:05"))
        await house.firing()
        await house.scheduler.remove(NAME)
        assert not house.scheduler.idle
        await house.answer(500)
        assert house.memory.documents == {}
        assert house.scheduler.idle
        assert house.scheduler.next_due() == math.inf
        await house.crash()

    run(scenario)


def test_the_scheduler_says_when_something_happens_next_and_whether_anything_does() -> None:
    async def scenario() -> None:
        house = House(at("10:02"), a_job(retry=THREE_RETRIES))
        await house.start()
        assert (house.scheduler.next_due(), house.scheduler.idle) == (at("10:05"), True)
        house.clock.advance(180)
        assert not house.scheduler.idle
        house.scheduler.clock_moved()
        await house.firing()
        assert (house.scheduler.next_due(), house.scheduler.idle) == (math.inf, False)
        await house.answer(500)
        assert (house.scheduler.next_due(), house.scheduler.idle) == (at("10:05:10"), True)
        assert house.scheduler.attempts == 1
        await house.crash()

    run(scenario)


def test_hundreds_of_jobs_share_one_timer() -> None:
    async def scenario() -> None:
        clock, handler = ManualClock(at("10:02")), Handler()
        scheduler = Scheduler(Memory(), clock, handler.send)
        for number in range(500):
            await scheduler.put(a_job(name=f"{NAME}-{number}"))
        await scheduler.start()
        await settle()
        assert len(asyncio.all_tasks()) == 1
        clock.advance(180)
        scheduler.clock_moved()
        await settle()
        assert handler.arrived.qsize() == 500
        await scheduler.stop(grace=0)

    run(scenario)
