"""unix-cron: five fields, either day field enough, and the choices for the days when clocks change."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.schedules import ScheduleError, parse_schedule


def times(text: str, zone: str, start: str, count: int) -> list[str]:
    found = parse_schedule(text, zone).times(datetime.fromisoformat(start), count)
    return [time.strftime("%m-%dT%H:%M") for time in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/5 * * * *", ["01-15T13:40", "01-15T13:45", "01-15T13:50"]),
        ("0 9 * * 1", ["01-19T09:00", "01-26T09:00", "02-02T09:00"]),
        ("0 9 * * MON-WED", ["01-19T09:00", "01-20T09:00", "01-21T09:00"]),
        ("30 6 1,15 * *", ["02-01T06:30", "02-15T06:30", "03-01T06:30"]),
        ("0 0 * * 7", ["01-18T00:00", "01-25T00:00", "02-01T00:00"]),
        ("0 0 * * 0", ["01-18T00:00", "01-25T00:00", "02-01T00:00"]),
        ("0 12 1 feb,apr *", ["02-01T12:00", "04-01T12:00", "02-01T12:00"]),
        ("15 10-12/2 * * *", ["01-16T10:15", "01-16T12:15", "01-17T10:15"]),
        ("0  0 29 2\t*", ["02-29T00:00", "02-29T00:00", "02-29T00:00"]),
    ],
)
def test_the_five_fields_give_these_times(text, expected):
    assert times(text, "UTC", "2026-01-15T13:37:42Z", 3) == expected


def test_either_day_field_is_enough_when_both_are_restricted():
    assert times("0 0 17 * 5", "UTC", "2026-01-15T00:00:00Z", 4) == [
        "01-16T00:00",
        "01-17T00:00",
        "01-23T00:00",
        "01-30T00:00",
    ]
    assert times("0 0 30 2 1", "UTC", "2026-01-15T00:00:00Z", 2) == ["02-02T00:00", "02-09T00:00"]


def test_a_skipped_time_comes_after_the_gap_and_a_doubled_one_once():
    assert times("30 2 * * *", "America/Chicago", "2026-03-07T12:00:00Z", 2) == ["03-08T08:00", "03-09T07:30"]
    assert times("30 1 * * *", "America/Chicago", "2026-11-01T00:00:00Z", 2) == ["11-01T06:30", "11-02T07:30"]


def test_a_star_goes_by_elapsed_time():
    assert times("*/30 * * * *", "America/Chicago", "2026-11-01T05:45:00Z", 5) == [
        "11-01T06:00",
        "11-01T06:30",
        "11-01T07:00",
        "11-01T07:30",
        "11-01T08:00",
    ]


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago", "Europe/London", "Asia/Kolkata"])
@pytest.mark.parametrize("day", ["2026-01-15", "2026-03-07", "2026-03-28", "2026-10-24", "2026-10-31"])
def test_every_five_minutes_is_the_same_in_both_languages(zone, day):
    start = datetime.fromisoformat(f"{day}T13:37:42Z")
    unix_cron = parse_schedule("*/5 * * * *", zone).times(start, 600)
    assert unix_cron == parse_schedule("every 5 minutes synchronized", zone).times(start, 600)


@settings(deadline=None)
@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    days=st.sets(st.integers(1, 28), min_size=1, max_size=4),
    weekdays=st.sets(st.integers(0, 6), min_size=1, max_size=3),
    seconds=st.integers(0, 30 * 86400),
)
def test_the_next_time_is_the_first_minute_that_fits(minute, hour, days, weekdays, seconds):
    fields = f"{minute} {hour} {','.join(map(str, days))} * {','.join(map(str, weekdays))}"
    start = datetime.fromisoformat("2026-05-01T00:00:00Z") + timedelta(seconds=seconds)

    def fits(time: datetime) -> bool:
        wall = time.astimezone(ZoneInfo("America/Chicago"))
        day = wall.day in days or (wall.weekday() + 1) % 7 in weekdays
        return day and (wall.hour, wall.minute) == (hour, minute)

    found = parse_schedule(fields, "America/Chicago").next_after(start)
    assert found > start
    assert fits(found)
    first = start.replace(second=0) + timedelta(minutes=1)
    window = min((found - first) // timedelta(minutes=1), 3 * 1440)
    assert not any(fits(first + timedelta(minutes=ahead)) for ahead in range(window))


@settings(deadline=None)
@given(offset=st.integers(0, 3 * 86400), field=st.sampled_from(("30 1", "*/20 1", "0,30 2", "0 */2", "15 0")))
def test_the_next_time_is_always_later_when_clocks_go_back(offset, field):
    schedule = parse_schedule(f"{field} * * *", "America/Chicago")
    start = datetime.fromisoformat("2026-10-31T00:00:00Z") + timedelta(seconds=offset)
    found = schedule.times(start, 4)
    assert [start, *found] == sorted({start, *found})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("* * * *", "unix-cron has 5 fields, this has 4"),
        ("0 0 12 * * *", "unix-cron has 5 fields, this has 6"),
        ("60 * * * *", 'The minute field "60" is not right. It takes 0-59.'),
        ("0 24 * * *", 'The hour field "24" is not right.'),
        ("*/0 * * * *", 'The minute field "*/0" is not right.'),
        ("0 0 0 * *", 'The day-of-month field "0" is not right.'),
        ("0 0 30 2 *", 'The day-of-month field "30" is not right.'),
        ("0 0 31 4,6 *", 'The day-of-month field "31" is not right.'),
        ("0 0 L * *", 'The day-of-month field "L" is not right.'),
        ("0 0 LW * *", 'The day-of-month field "LW" is not right.'),
        ("0 0 * 13 *", 'The month field "13" is not right.'),
        ("0 0 * * 8", 'The day-of-week field "8" is not right.'),
        ("0 0 * * FRI-MON", 'The day-of-week field "FRI-MON" is not right.'),
        ("0 0 * * MON#1", 'The day-of-week field "MON#1" is not right.'),
        ("0 0 * * 5L", 'The day-of-week field "5L" is not right.'),
        ("0 0 ? * *", 'The day-of-month field "?" is not right.'),
    ],
)
def test_a_refusal_names_the_field(text, reason):
    with pytest.raises(ScheduleError) as caught:
        parse_schedule(text)
    assert reason in str(caught.value)


def test_a_macro_is_refused_with_what_to_write_instead():
    with pytest.raises(ScheduleError, match="Write five unix-cron fields"):
        parse_schedule("@hourly")


def test_a_schedule_tells_its_times_in_words():
    assert parse_schedule("0 6 * * 1-5").words == "At 06:00 on Monday through Friday"
    assert parse_schedule("every 5 minutes").words == "every 5 minutes"
