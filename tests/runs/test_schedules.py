"""When jobs start by themselves: ticks from outside, what is missed, what is late, and what an operator sets."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.clock import ManualClock
from headrace.config.crons import CronEntry
from headrace.contract.operations import Contract, JobOptions, Missed, Overlap
from headrace.database import Database, audit_rows, run_rows, schedule_rows
from headrace.database.audit_rows import AuditFilter
from headrace.database.run_rows import RunRow
from headrace.errors import BadRequest, Forbidden, NotFound, WrongState
from headrace.runs.firings import Call, Firings
from headrace.runs.schedules import Schedules
from headrace.runs.starting import RunAnswer
from headrace.runs.timetable import entries_of
from headrace.sweeps.scheduling import Scheduling
from tests.instance import Instance, Numbers, read_url
from tests.queue_in_memory import QueueInMemory

URL = "/v1/cron/count"
SWEEP = "/v1/cron/headrace/sweep"
HOUR, GRACE = 3_600.0, 90.0
# 2027-01-15 08:00:00 UTC, the time at which the clock stands first.
EIGHT = 1_800_000_000.0


def cron(url: str = URL, schedule: str = "0 * * * *", timezone: str = "UTC") -> CronEntry:
    return CronEntry(url, schedule, timezone, "", None, None, 1)


@dataclass
class Site:
    """One service instance with a cron.yaml: hourly, where no test says otherwise."""

    instance: Instance
    firings: Firings
    scheduling: Scheduling
    schedules: Schedules

    def tick(self, at: float | None, url: str = URL, **parameters: Any) -> RunAnswer | None:
        """A call of the job's endpoint, for a time where a scheduler makes it."""
        return self.firings.call(self.entry().operation, parameters, Call(url, at))

    def entry(self) -> Any:
        return next(iter(self.firings.entries.values()))

    def sweep(self) -> dict[str, int]:
        return self.scheduling.sweep(self.instance.clock.now() + 20)

    def runs(self) -> list[RunRow]:
        """All runs, the oldest time first."""
        with self.instance.database.read() as connection:
            found = run_rows.list_runs(connection, limit=1_000, job=None, state=None)
        return sorted(found, key=lambda run: run.scheduled_at or 0)

    def times(self) -> list[float]:
        """The scheduled times of all runs, in hours after eight."""
        return [((run.scheduled_at or 0) / 1000 - EIGHT) / HOUR for run in self.runs()]

    def shown(self) -> dict[str, Any]:
        (shown,) = self.schedules.list()
        return shown


def make_site(instance: Instance, *crons: CronEntry, release: str | None = None, **options: Any) -> Site:
    job = replace(instance.job, job=JobOptions(**{"overlap": Overlap.ALLOW, **options}))
    contract: Contract = replace(
        instance.contract, operations=(job, instance.handler), crons=crons or (cron(), cron(SWEEP))
    )
    firings = Firings(instance.starter, entries_of(contract), read_url)
    scheduling = Scheduling(instance.database, contract, instance.clock, firings, release)
    return Site(instance, firings, scheduling, Schedules(firings, contract))


@pytest.fixture
def site(instance: Instance) -> Site:
    """A site whose schedule has been seen at eight."""
    site = make_site(instance)
    site.sweep()
    return site


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


def events(logs: list[Any], level: str) -> list[str]:
    return [entry["event"] for entry in logs if entry["log_level"] == level]


def move(site: Site, clock: ManualClock, hours: float, *, extra: float = 0.0) -> None:
    """Move the clock to so many hours after eight, and so many seconds."""
    clock.advance(EIGHT + hours * HOUR + extra - clock.now())


# Ticks.


def test_a_tick_fires_its_time_and_the_same_tick_again_answers_with_its_run(site: Site, clock: ManualClock) -> None:
    move(site, clock, 1, extra=2)
    first = site.tick(EIGHT + HOUR)
    assert first is not None
    assert site.tick(EIGHT + HOUR) == first
    assert site.times() == [1.0]
    assert (site.shown()["last_at"], site.shown()["next"][0]) == ("2027-01-15T09:00:00Z", "2027-01-15T10:00:00Z")
    assert site.shown()["last_run"]["run_id"] == first.run_id


def test_a_tick_that_comes_behind_a_later_one_is_recorded_as_skipped(site: Site, clock: ManualClock) -> None:
    move(site, clock, 2)
    site.tick(EIGHT + 2 * HOUR)
    late = site.tick(EIGHT + HOUR)
    assert late is not None
    assert (late.state, late.reason) == (
        "skipped",
        "The firing of 2027-01-15T10:00:00Z came before this one of 2027-01-15T09:00:00Z.",
    )


def test_a_persons_call_always_starts_and_leaves_the_schedule_alone(site: Site) -> None:
    before = site.shown()
    site.schedules.pause(URL, actor="anna")
    answers = [site.tick(None) for _ in range(2)]
    assert [answer.state for answer in answers if answer] == ["completed"] * 2
    site.schedules.resume(URL, actor="anna")
    assert len(site.runs()) == 2
    assert site.shown() == before


def test_a_tick_for_a_url_that_cron_yaml_does_not_have_is_keyed_by_its_scheduler(site: Site) -> None:
    call = Call(f"{URL}?source=other", EIGHT, "other-job")
    first, again = (site.firings.call(site.entry().operation, {"source": "other"}, call) for _ in range(2))
    assert first == again
    another = site.firings.call(site.entry().operation, {"source": "other"}, replace(call, scheduler="third-job"))
    assert another != first


def test_the_order_of_a_urls_parameters_does_not_matter(instance: Instance) -> None:
    site = make_site(instance, cron(f"{URL}?a=1&b=2"))
    first = site.tick(EIGHT, f"{URL}?b=2&a=1")
    assert first is not None
    assert site.runs()[0].schedule == f"{URL}?a=1&b=2"


def test_a_crash_between_claim_and_run_loses_and_doubles_nothing(
    site: Site, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    move(site, clock, 1)
    for written_last in (run_rows, schedule_rows):
        name = "insert_run" if written_last is run_rows else "save_schedule"
        with monkeypatch.context() as patched:
            patched.setattr(written_last, name, die)
            with pytest.raises(Killed):
                site.tick(EIGHT + HOUR)
        assert (site.runs(), site.shown()["last_at"]) == ([], None)
    move(site, clock, 1, extra=GRACE + 1)
    assert site.sweep()["fired"] == 1
    assert site.tick(EIGHT + HOUR) is not None
    assert site.times() == [1.0]


def test_a_crash_between_the_claim_and_the_split_is_gone_on_with(
    site: Site, clock: ManualClock, application: Numbers
) -> None:
    class Killed(BaseException):
        pass

    def die(item: int) -> None:
        raise Killed

    application.count, application.on_item = 3, die
    with pytest.raises(Killed):
        site.tick(EIGHT + HOUR)
    assert [run.state for run in site.runs()] == ["splitting"]
    application.on_item = lambda item: None
    clock.advance(site.instance.policy.split_lease)
    site.instance.sweeps.resume()
    assert [run.state for run in site.runs()] == ["running"]


def test_five_schedulers_with_a_hundred_due_make_a_hundred_runs(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    crons = [cron(f"{URL}?n={number}") for number in range(100)]
    sites = [make_site(Instance(database, queue, clock, application), *crons) for _ in range(5)]
    sites[0].sweep()
    move(sites[0], clock, 1, extra=GRACE + 1)
    barrier = threading.Barrier(5)
    fired: list[int] = []

    def run(site: Site) -> None:
        barrier.wait()
        fired.append(site.sweep()["fired"])

    threads = [threading.Thread(target=run, args=(site,)) for site in sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(fired) == 100
    assert len({run.schedule for run in sites[0].runs()}) == len(sites[0].runs()) == 100


# Missed.


@pytest.mark.parametrize(("missed", "hours"), [(Missed.SKIP, []), (Missed.ONE, [3.0]), (Missed.ALL, [1.0, 2.0, 3.0])])
@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.ALLOW])
def test_after_three_hours_down_an_hourly_job_makes_up_for_none_one_or_all(
    instance: Instance, clock: ManualClock, missed: Missed, hours: list[float], overlap: Overlap
) -> None:
    site = make_site(instance, missed=missed, overlap=overlap)
    site.sweep()
    move(site, clock, 3, extra=HOUR / 2)
    assert site.sweep() == {"fired": len(hours), "started": 0}
    assert site.times() == hours
    assert not [run for run in site.runs() if run.state == "skipped"]
    assert (site.sweep()["fired"], site.shown()["next"][0]) == (0, "2027-01-15T12:00:00Z")


def test_of_more_than_a_day_of_missed_hours_the_latest_24_are_made_up_for(
    instance: Instance, clock: ManualClock
) -> None:
    site = make_site(instance, missed=Missed.ALL)
    site.sweep()
    move(site, clock, 40, extra=HOUR / 2)
    assert site.sweep()["fired"] == 24
    assert site.times() == [float(hour) for hour in range(17, 41)]


def test_what_the_scheduler_still_may_call_is_not_missed(site: Site, clock: ManualClock) -> None:
    move(site, clock, 1, extra=GRACE - 1)
    assert site.sweep()["fired"] == 0
    first = site.tick(EIGHT + HOUR)
    clock.advance(2)
    assert site.sweep()["fired"] == 0
    assert [run.id for run in site.runs()] == [first.run_id if first else ""]


def test_a_tick_that_comes_after_its_time_was_made_up_for_answers_with_that_run(site: Site, clock: ManualClock) -> None:
    move(site, clock, 1, extra=GRACE + 1)
    site.sweep()
    answer = site.tick(EIGHT + HOUR)
    assert [run.id for run in site.runs()] == [answer.run_id if answer else ""]
    assert site.instance.asked_to_go_on, "its split is a task's"


def test_another_schedule_in_the_file_counts_from_now(instance: Instance, clock: ManualClock) -> None:
    site = make_site(instance, cron(schedule="0 * * * *"))
    site.sweep()
    move(site, clock, 5, extra=HOUR / 2)
    deployed = make_site(instance, cron(schedule="every day 22:00"))
    assert deployed.sweep()["fired"] == 0
    assert deployed.shown()["next"][0] == "2027-01-15T22:00:00Z"


# Late.


def test_a_schedule_that_never_fired_is_late_and_says_so_once(
    instance: Instance, clock: ManualClock, logs: list[Any]
) -> None:
    site = make_site(instance, missed=Missed.SKIP, late_after=900.0)
    site.sweep()
    move(site, clock, 1, extra=899)
    site.sweep()
    assert (site.shown()["state"], events(logs, "error")) == ("active", [])
    for _ in range(3):
        clock.advance(60)
        site.sweep()
        assert site.shown()["state"] == "late"
    assert events(logs, "error") == ["schedule is late"]
    move(site, clock, 2)
    site.tick(EIGHT + 2 * HOUR)
    assert (site.shown()["state"], events(logs, "info").count("schedule fires again")) == ("active", 1)


def test_a_schedule_is_late_also_while_nothing_sweeps(site: Site, clock: ManualClock) -> None:
    move(site, clock, 1, extra=301)
    assert site.shown()["state"] == "late"


def test_what_is_made_up_for_is_late_no_more(site: Site, clock: ManualClock, logs: list[Any]) -> None:
    move(site, clock, 1, extra=400)
    site.sweep()
    assert site.shown()["state"] == "active"
    assert "schedule is late" in events(logs, "error")
    assert "schedule fires again" in events(logs, "info")


# What an operator does.


def test_an_edited_schedule_finds_its_next_time_anew_and_the_files_ticks_fire_nothing(
    site: Site, clock: ManualClock
) -> None:
    shown = site.schedules.edit(URL, {"schedule": "30 * * * *"}, actor="anna")
    assert (shown["schedule"], shown["file"]["schedule"], shown["edited"]) == ("30 * * * *", "0 * * * *", True)
    assert shown["next"][0] == "2027-01-15T08:30:00Z"
    move(site, clock, 0.5)
    assert site.tick(EIGHT) is not None, "a tick is a moment to look, whatever its time"
    move(site, clock, 1)
    assert site.tick(EIGHT + HOUR) is None
    assert site.times() == [0.5]
    move(site, clock, 1.5)
    assert site.sweep()["fired"] == 1, "nobody outside knows of it, so nothing is waited for"
    assert site.times() == [0.5, 1.5]


@pytest.mark.parametrize(("missed", "hours"), [("skip", [3.5]), ("one", [3.5]), ("all", [0.5, 1.5, 2.5, 3.5])])
def test_what_an_edited_schedule_missed_is_made_up_for_by_the_policy(
    site: Site, clock: ManualClock, missed: str, hours: list[float]
) -> None:
    site.schedules.edit(URL, {"schedule": "30 * * * *", "missed": missed}, actor="anna")
    move(site, clock, 3.5, extra=20)
    assert site.sweep()["fired"] == len(hours)
    assert site.times() == hours


def test_an_edit_that_is_cleared_lets_the_file_be_in_force_again(site: Site) -> None:
    site.schedules.edit(URL, {"schedule": "every day 04:00", "timezone": "America/Chicago"}, actor="anna")
    assert site.shown()["next"][0] == "2027-01-15T10:00:00Z"
    site.schedules.edit(URL, {"schedule": None, "timezone": None}, actor="anna")
    shown = site.shown()
    assert (shown["schedule"], shown["timezone"], shown["edited"]) == ("0 * * * *", "UTC", False)
    assert shown["next"][0] == "2027-01-15T09:00:00Z"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"schedule": "every day 25:00"}, "/schedule"),
        ({"schedule": "every day 04:00", "timezone": "Mars/Olympus"}, "/timezone"),
        ({"missed": "some"}, "/missed"),
    ],
)
def test_a_bad_edit_is_refused_and_changes_nothing(site: Site, changes: dict[str, str], pointer: str) -> None:
    before = site.shown()
    with pytest.raises(BadRequest) as caught:
        site.schedules.edit(URL, changes, actor="anna")
    assert caught.value.pointer == pointer
    assert site.shown() == before
    with site.instance.database.read() as connection:
        assert audit_rows.list_audit(connection, limit=10) == []


def test_a_paused_schedule_starts_nothing_and_records_why(site: Site, clock: ManualClock) -> None:
    assert site.schedules.pause(URL, actor="anna")["state"] == "paused"
    move(site, clock, 2, extra=HOUR / 2)
    first, again = site.tick(EIGHT + 2 * HOUR), site.tick(EIGHT + 2 * HOUR)
    assert first is not None
    assert first == again
    assert (first.state, first.reason) == ("skipped", "The schedule is paused.")
    assert site.sweep()["fired"] == 0
    assert (site.shown()["state"], site.shown()["next"]) == ("paused", [])


def test_a_resumed_schedule_fires_at_the_next_slot_and_makes_up_for_nothing(
    instance: Instance, clock: ManualClock
) -> None:
    site = make_site(instance, missed=Missed.ALL)
    site.schedules.pause(URL, actor="anna")
    move(site, clock, 3, extra=HOUR / 2)
    assert site.schedules.resume(URL, actor="anna")["next"][0] == "2027-01-15T12:00:00Z"
    assert (site.sweep()["fired"], site.runs()) == (0, [])
    move(site, clock, 4, extra=GRACE + 1)
    assert site.sweep()["fired"] == 1
    assert site.times() == [4.0]


def test_a_send_starts_a_run_also_while_paused_and_moves_no_time(site: Site) -> None:
    before = site.shown()
    run_id = site.schedules.send(URL, actor="anna")
    assert site.shown() == {**before, "last_run": {"run_id": run_id, "state": "splitting"}}
    site.schedules.pause(URL, actor="anna")
    site.schedules.send(URL, actor="anna")
    assert site.shown()["state"] == "paused"
    assert run_id in site.instance.asked_to_go_on
    assert {run.state for run in site.runs()} == {"splitting"}


def test_every_command_is_audited_with_who_and_what(site: Site) -> None:
    site.schedules.edit(URL, {"missed": "all"}, actor="anna")
    site.schedules.pause(URL, actor="ben")
    site.schedules.resume(URL, actor="ben")
    run_id = site.schedules.send(URL, actor="carl")
    with site.instance.database.read() as connection:
        rows = audit_rows.list_audit(connection, limit=10, where=AuditFilter(object=f"schedule/{URL}"))
    assert [(row.actor, row.action) for row in reversed(rows)] == [
        ("anna", "edit_schedule"),
        ("ben", "pause_schedule"),
        ("ben", "resume_schedule"),
        ("carl", "send_schedule"),
    ]
    assert rows[0].new == run_id
    assert '"missed": "all"' in (rows[-1].new or "")


@pytest.mark.parametrize(
    "command",
    [
        lambda schedules, url: schedules.edit(url, {"missed": "all"}, actor="anna"),
        lambda schedules, url: schedules.pause(url, actor="anna"),
        lambda schedules, url: schedules.resume(url, actor="anna"),
        lambda schedules, url: schedules.send(url, actor="anna"),
    ],
)
def test_what_is_not_there_or_is_no_jobs_is_refused(site: Site, command: Callable[[Schedules, str], object]) -> None:
    with pytest.raises(NotFound):
        command(site.schedules, "/v1/cron/nothing")
    with pytest.raises(Forbidden, match="starts no job"):
        command(site.schedules, SWEEP)
    assert site.runs() == []


def test_what_is_paused_is_not_paused_again_and_what_is_not_is_not_resumed(site: Site) -> None:
    with pytest.raises(WrongState):
        site.schedules.resume(URL, actor="anna")
    site.schedules.pause(URL, actor="anna")
    with pytest.raises(WrongState):
        site.schedules.pause(URL, actor="anna")


# At the start of a release.


def test_a_job_on_start_runs_once_for_each_release(instance: Instance, clock: ManualClock) -> None:
    assert make_site(instance, on_start=True, release=None).sweep()["started"] == 0
    sites = [make_site(instance, on_start=True, release=release) for release in ("r1", "r1", "r2", "r1")]
    assert [site.sweep()["started"] for site in sites] == [1, 0, 1, 0]
    clock.advance(2 * instance.policy.retention)
    instance.sweeps.purge()
    assert sites[0].sweep()["started"] == 0, "also when the run is long purged"
    assert make_site(instance, release="r3").sweep()["started"] == 0


def test_a_job_on_start_waits_for_the_run_that_it_meets(instance: Instance, application: Numbers) -> None:
    application.count = 3
    site = make_site(instance, on_start=True, release="r1", overlap=Overlap.SKIP)
    site.tick(None)
    assert site.sweep()["started"] == 1
    assert sorted(run.state for run in site.runs()) == ["queued", "running"]
