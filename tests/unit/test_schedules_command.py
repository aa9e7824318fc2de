"""`headrace schedules check` and `headrace schedules next`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cli import main

ROOT = Path(__file__).parents[2]
START = "2026-03-07T00:00:00Z"


def run(*arguments: object):
    return CliRunner().invoke(main, ["schedules", *(str(argument) for argument in arguments)])


def test_a_good_file_is_one_line():
    path = ROOT / "tests/vectors/allofus_cron.yaml"
    result = run("check", path)
    assert (result.exit_code, result.output) == (0, f"{path}: 19 schedules\n")
    assert run("check", path, "--json").output == "[]\n"


def test_skipped_jobs_are_printed_with_their_reason():
    result = run("check", ROOT / "tests/vectors/allofus_cron.yaml", "--env", "test")
    assert result.exit_code == 0
    reason = "nothing to archive in this environment"
    assert f"skipped: /v1/cron/archiveNextLegacyWorkspace: {reason}\n" in result.output


def test_a_bad_file_is_its_faults_and_status_1(tmp_path):
    path = tmp_path / "cron.yaml"
    path.write_text("cron:\n- url: /a\n  schedule: every day 25:00\n")
    result = run("check", path)
    assert result.exit_code == 1
    assert f"{path}:3:13: error: schedule: 25:00 is no time of day" in result.output
    assert run("check", tmp_path / "nowhere.yaml").exit_code == 1


def test_the_next_times_as_json_are_in_utc():
    result = run("next", "every day 22:00", "--timezone", "America/Chicago", "--start", START, "--count", 3,
                 "--json")  # fmt: skip
    assert result.exit_code == 0
    assert json.loads(result.output) == [
        "2026-03-07T04:00:00Z",
        "2026-03-08T04:00:00Z",
        "2026-03-09T03:00:00Z",
    ]


def test_the_next_times_have_the_local_time_beside_them():
    result = run("next", "0 22 * * *", "--timezone", "america/chicago", "--start", START, "--count", 2)
    assert result.output.splitlines() == [
        "2026-03-07T04:00:00Z  Fri 2026-03-06 22:00 America/Chicago",
        "2026-03-08T04:00:00Z  Sat 2026-03-07 22:00 America/Chicago",
    ]


def test_without_a_start_the_times_follow_now():
    times = json.loads(run("next", "every 1 minutes", "--json").output)
    assert len(times) == 5
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("every day 25:00",), "25:00 is no time of day"),
        (("0 0 30 2 *",), "The day-of-month field"),
        (("every day 10:00", "--timezone", "Mars/Phobos"), "is no time zone"),
        (("every day 10:00", "--start", "tomorrow"), "is no time"),
        (("every day 10:00", "--start", "2026-03-07T00:00:00"), "lacks its offset from UTC"),
        (("every day 10:00", "--start", "9999-12-31T00:00:00Z"), "in the years 1900 to 9800"),
        (("every day 10:00", "--count", "0"), "--count"),
        (("every day 10:00", "--count", "many"), "--count"),
    ],
)
def test_what_cannot_be_answered_is_status_2_with_the_reason_on_stderr(arguments, reason):
    result = run("next", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
