"""App Engine's grammar: the verdicts and times of Google's own code, and of two independent oracles."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config import load_cron_file
from headrace.schedules import Schedule, ScheduleError, TimezoneError, find_zone, parse_schedule
from headrace.schedules.appengine import parse_appengine

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests/vectors/groc.json").read_text())["vectors"]

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ZONES = ("UTC", "America/Chicago", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata")
# Around the days of 2026 when clocks change in these zones, and an ordinary week.
DAYS = ("2026-03-07", "2026-03-28", "2026-04-04", "2026-06-10", "2026-10-03", "2026-10-24", "2026-10-31")

instants = st.builds(
    lambda day, seconds: datetime.fromisoformat(f"{day}T00:00:00+00:00") + timedelta(seconds=seconds),
    st.sampled_from(DAYS),
    st.integers(0, 2 * 86400),
)
clock_times = st.tuples(st.integers(0, 23), st.sampled_from((0, 1, 15, 30, 59)))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text)


def shown(times: list[datetime]) -> list[str]:
    return [time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in times]


@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_every_recorded_schedule_gets_googles_verdict_and_times(vector):
    if not vector["ok"]:
        with pytest.raises(ScheduleError):
            Schedule(vector["schedule"], find_zone(vector["timezone"]), parse_appengine(vector["schedule"]))
        return
    schedule = parse_schedule(vector["schedule"], vector["timezone"])
    assert shown(schedule.times(utc(vector["start"]), 10)) == vector["next"]


# Worked out by hand: Chicago is 6 hours behind UTC until 2026-03-08 08:00Z, then 5.
FROM = "2026-03-07T00:00:00Z"
NEXT_THREE = {
    "deleteOldRuntimes": ("07T03:00", "07T06:00", "07T09:00"),
    "checkPersistentDisks": ("08T00:00", "09T00:00", "10T00:00"),
    "bulkAuditProjectAccess": ("08T00:00", "09T00:00", "10T00:00"),
    "checkInitialCreditsUsage": ("07T00:30", "07T01:00", "07T01:30"),
    "exportToRdr": ("07T04:00", "08T04:00", "09T03:00"),
    "uploadReportingSnapshot": ("07T01:00", "08T01:00", "09T00:00"),
    "synchronizeUserAccess": ("07T05:00", "08T05:00", "09T04:00"),
    "checkPendingEgressEvents": ("07T01:00", "07T02:00", "07T03:00"),
    "sendAccessExpirationEmails": ("07T05:30", "08T05:30", "09T04:30"),
    "checkObjectNameSize": ("07T06:00", "07T12:00", "07T18:00"),
    "ensureTestUserTosCompliance": ("07T01:00", "08T01:00", "09T00:00"),
    "emailNewUserSatisfactionSurveyLinks": ("07T03:30", "08T03:30", "09T02:30"),
    "deleteTestUserWorkspaces": ("07T02:00", "08T02:00", "09T01:00"),
    "deleteTestUserWorkspacesOrphanedInRawls": ("07T03:00", "08T03:00", "09T02:00"),
    "checkInitialCreditsExpiration": ("07T21:30", "08T21:30", "09T21:30"),
    "deleteUnsharedWorkspaceEnvironments": ("07T04:30", "08T04:30", "09T03:30"),
    "cleanupOrphanedWorkspaces": ("07T03:00", "08T03:00", "09T02:00"),
    "cacheWorkspaceAcls": ("07T03:30", "08T03:30", "09T02:30"),
    "archiveNextLegacyWorkspace": ("07T00:01", "07T00:02", "07T00:03"),
}


def test_the_jobs_of_a_real_application_fire_at_hand_worked_times_over_a_clock_change():
    entries = load_cron_file(ROOT / "tests/vectors/allofus_cron.yaml").entries
    times = {
        entry.url.removeprefix("/v1/cron/"): tuple(
            time.strftime("%dT%H:%M") for time in parse_schedule(entry.schedule, entry.timezone).times(utc(FROM), 3)
        )
        for entry in entries
    }
    assert times == NEXT_THREE


def test_a_wall_time_that_clocks_skip_does_not_come_and_one_shown_twice_comes_twice():
    skipped = parse_schedule("every day 02:30", "America/Chicago")
    assert shown(skipped.times(utc("2026-03-07T12:00:00Z"), 1)) == ["2026-03-09T07:30:00Z"]
    doubled = parse_schedule("every day 01:30", "America/Chicago")
    assert shown(doubled.times(utc("2026-11-01T00:00:00Z"), 3)) == [
        "2026-11-01T06:30:00Z",
        "2026-11-01T07:30:00Z",
        "2026-11-02T07:30:00Z",
    ]


@settings(deadline=None)
@given(
    weekdays=st.sets(st.sampled_from(range(7)), min_size=1),
    clock=clock_times,
    zone=st.sampled_from(ZONES),
    start=instants,
)
def test_a_time_on_weekdays_is_the_first_minute_that_a_wall_clock_agrees(weekdays, clock, zone, start):
    names = ",".join(WEEKDAYS[number] for number in sorted(weekdays))
    schedule = parse_schedule(f"every {names} {clock[0]:02}:{clock[1]:02}", zone)
    info = ZoneInfo(zone)

    def agrees(minute: datetime) -> bool:
        wall = minute.astimezone(info)
        return (wall.hour, wall.minute) == clock and wall.weekday() in weekdays

    found = schedule.next_after(start)
    assert found > start
    assert agrees(found)
    minute = start.replace(second=0) + timedelta(minutes=1)
    window = int(min(found - minute, timedelta(days=3)) / timedelta(minutes=1))
    assert not any(agrees(minute + timedelta(minutes=ahead)) for ahead in range(window))


@settings(deadline=None)
@given(
    text=st.one_of(
        st.builds("every {} minutes".format, st.integers(1, 3000)),
        st.builds("every {} minutes on sat,sun".format, st.integers(1, 1440)),
        st.builds("every {} hours synchronized".format, st.sampled_from((1, 2, 3, 4, 6, 8, 12, 24))),
        st.builds(
            "every {} minutes from {:02}:{:02} to {:02}:{:02}".format,
            st.integers(1, 2000),
            st.integers(0, 23),
            st.integers(0, 59),
            st.integers(0, 23),
            st.integers(0, 59),
        ),
        st.builds("{},{} of month 02:15".format, st.integers(1, 31), st.integers(1, 31)),
        st.builds("{} sun,mon of quarter 01:30".format, st.sampled_from(("1st", "second,5th", "every"))),
    ),
    zone=st.sampled_from(ZONES),
    start=instants,
)
def test_each_time_comes_after_the_one_before_and_does_not_depend_on_what_was_asked_in_between(text, zone, start):
    schedule = parse_schedule(text, zone)
    times = schedule.times(start, 5)
    assert [start, *times] == sorted({start, *times})
    assert schedule.next_after(times[3]) == times[4]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("every 5 minute", '"minute" is not part of a schedule, at character 9. Did you mean minutes?'),
        ("every 5 seconds", "at character 9. The shortest interval is every 1 minutes."),
        ("every mon-fri 09:00", "at character 10. Days are a list: mon,tue,wed."),
        ("every day", "Expected a time such as 09:30, found the end of the schedule, at character 10."),
        ("every day 24:00", "24:00 is no time of day: 0:00 to 23:59, at character 11."),
        ("every 0 minutes", "The interval must be longer than 0, at character 7."),
        ("every 7 minutes synchronized", "A synchronized interval must divide 24 hours, at character 7."),
        ("every 26 hours on mon", "Weekdays need an interval of at most 24 hours, at character 16."),
        ("every 100000 hours", "The number 100000 is too long, at character 7."),
        ("30,31 of feb 09:00", "No chosen month has a day 30, at character 1."),
        ("1st mon of 4th month of quarter 09:00", "A quarter has three months, at character 12."),
        ("every day of month 10:00 on mon", 'Expected the end, found "on", at character 26.'),
        ("@daily", "at character 1. Write five unix-cron fields"),
        ("", "found the end of the schedule, at character 1."),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(text, reason):
    with pytest.raises(ScheduleError) as caught:
        parse_schedule(text)
    assert reason in str(caught.value)


def test_zones_are_iana_names_in_any_case():
    assert parse_schedule("every day 10:00", "america/chicago").timezone == "America/Chicago"
    assert parse_schedule("every day 10:00", "utc").timezone == "UTC"
    with pytest.raises(TimezoneError, match="Did you mean America/Chicago"):
        find_zone("America/Chigaco")
    with pytest.raises(TimezoneError, match="Write an IANA name"):
        find_zone("../../etc/passwd")
    with pytest.raises(TimezoneError):
        find_zone("localtime")


def test_a_start_has_a_zone_and_a_year_within_reach():
    schedule = parse_schedule("every 99999 hours")
    with pytest.raises(ValueError, match="no time zone"):
        schedule.next_after(utc("2026-01-01T00:00:00"))
    with pytest.raises(ScheduleError, match="1900 to 9800"):
        schedule.next_after(utc("9900-01-01T00:00:00Z"))


def test_a_start_in_another_zone_is_the_same_instant():
    schedule = parse_schedule("every day 22:00", "America/Chicago")
    start = utc("2026-03-07T00:00:00Z")
    assert schedule.next_after(start.astimezone(ZoneInfo("Asia/Tokyo"))) == schedule.next_after(start)
    assert schedule.next_after(start).tzinfo is UTC
