"""`queue.<env>.yaml` and `cron.<env>.yaml` over the base files."""

from pathlib import Path

import pytest

from headrace.config import RetryParameters, load_cron_file, load_queue_file
from headrace.errors import ConfigError

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/files.md").read_text()

QUEUES = """\
queue:
- name: mail
  rate: 1/s
  bucket_size: 10
  retry_parameters:
    task_retry_limit: 3
    task_age_limit: 5m
- name: access
  rate: 5/s
  retry_parameters: {task_retry_limit: 1}
"""
CRONS = """\
cron:
- url: /v1/cron/a
  schedule: every day 09:00
- url: /v1/cron/b
  schedule: every day 10:00
- url: /v1/cron/b
  schedule: every day 20:00
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "queue.yaml").write_text(QUEUES)
    (tmp_path / "cron.yaml").write_text(CRONS)
    return tmp_path


def queue_faults(folder: Path, overlay: str) -> list[tuple[str, int, int, str]]:
    (folder / "queue.test.yaml").write_text(overlay)
    with pytest.raises(ConfigError) as caught:
        load_queue_file(folder / "queue.yaml", "test")
    return [(Path(f.file).name, f.line, f.column, f.message) for f in caught.value.faults]


def cron_faults(folder: Path, overlay: str) -> list[tuple[str, int, int, str]]:
    (folder / "cron.test.yaml").write_text(overlay)
    with pytest.raises(ConfigError) as caught:
        load_cron_file(folder / "cron.yaml", "test")
    return [(Path(f.file).name, f.line, f.column, f.message) for f in caught.value.faults]


def test_an_overlay_changes_what_it_names_and_keeps_the_rest(folder):
    overlay = "queue:\n- name: mail\n  rate: 10/s\n  retry_parameters:\n    task_retry_limit: 0\n"
    (folder / "queue.test.yaml").write_text("resume_paused_queues: False\n" + overlay)
    loaded = load_queue_file(folder / "queue.yaml", "test")
    mail, access = loaded.queues
    assert (mail.rate_per_second, mail.bucket_size, mail.line) == (10.0, 10, 2)
    assert mail.retry == RetryParameters(task_retry_limit=0, task_age_limit_seconds=300)
    assert access == load_queue_file(folder / "queue.yaml").queues[1]
    assert loaded.resume_paused_queues is False


def test_another_environment_reads_the_base_alone(folder):
    (folder / "queue.test.yaml").write_text("queue:\n- name: mail\n  rate: 10/s\n")
    base = load_queue_file(folder / "queue.yaml")
    assert load_queue_file(folder / "queue.yaml", "production") == base
    assert base.queues[0].rate_per_second == 1.0


def test_an_empty_list_changes_nothing(folder):
    (folder / "queue.test.yaml").write_text("queue:\n")
    assert load_queue_file(folder / "queue.yaml", "test") == load_queue_file(folder / "queue.yaml")


def test_faults_of_an_overlay_are_in_the_overlay_and_come_with_those_of_the_base(folder):
    (folder / "queue.yaml").write_text(QUEUES.replace("5/s", "5"))
    overlay = """\
queue:
- name: mial
  rate: 10/s
- rate: 1/s
- name: mail
  rate: fast
  bucketsize: 3
  acl: [{foo: x}]
- name: mail
  rate: 2/s
"""
    assert queue_faults(folder, overlay) == [
        ("queue.test.yaml", 2, 9, 'name: the base file has no "mial"; did you mean mail?'),
        ("queue.test.yaml", 4, 3, "name: is missing; it says which entry of the base file is meant"),
        ("queue.test.yaml", 6, 9, "rate: must be a number, a slash and s, m, h or d, such as 10/m"),
        ("queue.test.yaml", 7, 3, 'unknown key "bucketsize"; did you mean bucket_size?'),
        ("queue.test.yaml", 8, 10, 'unknown key "foo"; known here are user_email, writer_email'),
        ("queue.test.yaml", 9, 9, 'name: "mail" is in this overlay twice'),
        ("queue.yaml", 9, 9, "rate: needs a unit: 5/s, 5/m, 5/h or 5/d"),
    ]


@pytest.mark.parametrize("overlay", ["- name: mail\n", "queue: 5\n"])
def test_an_overlay_has_the_form_of_the_base(folder, overlay):
    ((file, line, _, message),) = queue_faults(folder, overlay)
    assert (file, line) == ("queue.test.yaml", 1)
    assert "a list under queue" in message


def test_an_unknown_url_is_a_fault(folder):
    overlay = "cron:\n- url: /v1/cron/c\n  schedule: every day 11:00\n"
    ((file, line, column, message),) = cron_faults(folder, overlay)
    assert (file, line, column) == ("cron.test.yaml", 2, 8)
    assert 'the base file has no "/v1/cron/c"' in message


def test_a_url_with_several_schedules_cannot_be_overlaid(folder):
    ((_, line, _, message),) = cron_faults(folder, "cron:\n- url: /v1/cron/b\n  timezone: Asia/Tokyo\n")
    assert (line, "2 times" in message) == (2, True)


def test_a_skipped_job_is_gone_and_reported_with_its_reason(folder):
    (folder / "cron.test.yaml").write_text("cron:\n- url: /v1/cron/a\n  skip_reason: nothing to do here\n")
    loaded = load_cron_file(folder / "cron.yaml", "test")
    assert [entry.url for entry in loaded.entries] == ["/v1/cron/b", "/v1/cron/b"]
    assert loaded.skipped == (("/v1/cron/a", "nothing to do here"),)


def test_a_skipped_job_needs_a_reason(folder):
    ((_, line, column, message),) = cron_faults(folder, 'cron:\n- url: /v1/cron/a\n  skip_reason: ""\n')
    assert (line, column, message) == (3, 16, "skip_reason: must say why")


def test_the_test_environment_of_a_real_application_overlays_its_base():
    loaded = load_cron_file(ROOT / "tests/vectors/allofus_cron.yaml", "test")
    assert len(loaded.entries) == 18
    changed = {entry.url: entry.schedule for entry in loaded.entries}
    assert changed["/v1/cron/checkObjectNameSize"] == "every 24 hours"
    assert [url for url, _ in loaded.skipped] == ["/v1/cron/archiveNextLegacyWorkspace"]


def test_the_documented_overlays_fit_the_documented_files(tmp_path):
    for name in ("queue.yaml", "cron.yaml", "queue.test.yaml", "cron.test.yaml"):
        (tmp_path / name).write_text(DOCS.split(f"```yaml\n# {name}\n")[1].split("```")[0])
    assert load_queue_file(tmp_path / "queue.yaml", "test").queues[0].rate_per_second == 10.0
    assert len(load_cron_file(tmp_path / "cron.yaml", "test").skipped) == 1
