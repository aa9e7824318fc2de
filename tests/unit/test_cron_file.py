"""cron.yaml: the verdicts and values of Google's own code; schedules and zones are checked too."""

import json
from pathlib import Path

import pytest

from headrace.config import JobRetry, load_cron_file
from headrace.errors import ConfigError

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests/vectors/cron_yaml.json").read_text())["vectors"]
DOCS = (ROOT / "docs/files.md").read_text()

ENTRY = "cron:\n- url: /a\n  schedule: every 5 minutes\n"

# What Google takes and Headrace refuses: the file, and the row of docs/files.md that says so.
STRICTER = {
    'cron:\n- url: "/a b"\n  schedule: every 5 minutes\n': "a url with a space",
    f"{ENTRY}  timezone: Mars/Phobos\n": "an unknown schedule or time zone",
    f"{ENTRY}  retry_parameters:\n    max_doublings: 1.5\n": "a fraction where a whole number stands",
}
ALSO_STRICTER = {
    "cron:\n- url: /a\n  schedule: every 5 minute\n": "an unknown schedule or time zone",
    f"{ENTRY}- url: /a\n  schedule: every 5 minutes\n  timezone: UTC\n": "the same url, schedule and zone twice",
}


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "cron.yaml"
        path.write_text(text)
        return path

    return write


def faults(path: Path) -> list[tuple[int, int, str]]:
    with pytest.raises(ConfigError) as caught:
        load_cron_file(path)
    return [(fault.line, fault.column, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_every_recorded_file_gets_googles_verdict_and_values(vector, write):
    path = write(vector["yaml"])
    if not vector["ok"] or vector["yaml"] in STRICTER:
        assert faults(path)
        return
    jobs = [call[2] for call in vector["calls"]]
    loaded = load_cron_file(path)
    assert [entry.url for entry in loaded.entries] == [job["appEngineHttpTarget"]["relativeUri"] for job in jobs]
    for entry, job in zip(loaded.entries, jobs, strict=True):
        assert (entry.schedule, entry.timezone) == (job["schedule"], job["timeZone"])
        assert entry.description == job.get("description", "")
        assert _as_sent(entry.retry) == job.get("retryConfig")


def _as_sent(retry: JobRetry | None) -> dict[str, object] | None:
    if retry is None:
        return None
    sent: dict[str, object] = {
        "maxBackoffDuration": f"{retry.max_backoff_seconds}s",
        "maxDoublings": retry.max_doublings,
        "maxRetryDuration": f"{retry.job_age_limit_seconds}s",
        "minBackoffDuration": f"{retry.min_backoff_seconds}s",
    }
    return sent if retry.job_retry_limit is None else sent | {"retryCount": retry.job_retry_limit}


def test_the_stricter_cases_are_ones_that_google_takes():
    assert set(STRICTER) <= {vector["yaml"] for vector in VECTORS if vector["ok"]}


@pytest.mark.parametrize(("text", "row"), [*STRICTER.items(), *ALSO_STRICTER.items()])
def test_what_headrace_alone_refuses_is_in_the_table(text, row, write):
    assert faults(write(text))
    assert row in DOCS.split("## Where Headrace is stricter than Google")[1]


def test_the_19_jobs_of_a_real_application_load():
    entries = load_cron_file(ROOT / "tests/vectors/allofus_cron.yaml").entries
    assert len(entries) == 19
    assert entries[-1].url == "/v1/cron/archiveNextLegacyWorkspace"
    assert entries[-1].retry == JobRetry(job_retry_limit=3, min_backoff_seconds=5.0)
    assert {entry.timezone for entry in entries} == {"UTC", "America/Chicago"}


def test_bad_schedules_zones_and_retries_each_have_their_line_and_column(write):
    text = """\
cron:
- url: /a
  schedule: every day 25:00
  timezone: America/Chigaco
- url: b
  schedule: "61 * * * *"
- url: /c
  schedule: 5
  retry_parameters:
    job_retry_limit: 6
"""
    assert faults(write(text)) == [
        (3, 13, "schedule: 25:00 is no time of day: 0:00 to 23:59, at character 11."),
        (4, 13, 'timezone: "America/Chigaco" is no time zone. Did you mean America/Chicago?'),
        (5, 8, "url: must be a path that begins with / and has no space"),
        (6, 13, 'schedule: The minute field "61" is not right. It takes 0-59.'),
        (8, 13, "schedule: must be text"),
        (10, 22, "job_retry_limit: must be 0 to 5, is 6"),
    ]


def test_one_url_may_have_several_schedules(write):
    loaded = load_cron_file(write(f"{ENTRY}- url: /a\n  schedule: every day 09:00\n"))
    assert [entry.line for entry in loaded.entries] == [2, 4]


def test_a_zone_is_kept_in_its_own_spelling(write):
    (entry,) = load_cron_file(write(f"{ENTRY}  timezone: america/chicago\n")).entries
    assert entry.timezone == "America/Chicago"


def test_a_reason_to_skip_belongs_in_an_overlay(write):
    found = faults(write(f"{ENTRY}  skip_reason: not now\n"))
    assert found == [(4, 3, "skip_reason: belongs in an overlay, cron.<environment>.yaml")]


def test_the_documented_example_loads(write):
    example = DOCS.split("```yaml\n# cron.yaml\n")[1].split("```")[0]
    assert len(load_cron_file(write(example)).entries) == 2


def test_the_least_backoff_is_not_above_the_most(write):
    retry = "  retry_parameters:\n    min_backoff_seconds: 2\n    max_backoff_seconds: 1\n"
    message = "min_backoff_seconds: must not be more than max_backoff_seconds"
    assert faults(write(ENTRY + retry)) == [(5, 26, message)]
