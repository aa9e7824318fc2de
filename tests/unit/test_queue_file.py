"""queue.yaml: the verdicts and limits of Google's own code, and faults that say where and what."""

import json
import textwrap
from pathlib import Path

import pytest

from headrace.config import RetryParameters, load_queue_file
from headrace.errors import ConfigError, Level

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests/vectors/queue_yaml.json").read_text())["vectors"]
DOCS = (ROOT / "docs/files.md").read_text()

# What Google takes and Headrace refuses: the recorded file, and the row of docs/files.md that says so.
STRICTER = {
    f"queue:\n- name: {'a' * 101}\n  rate: 5/s\n": "a name longer than 100 characters",
    'queue:\n- name: ""\n  rate: 5/s\n': "an empty name",
    "queue:\n- name: a\n  bucket_size: 5.5\n  rate: 5/s\n": "a fraction where a whole number stands",
    "queue:\n- name: a\n  max_concurrent_requests: -3\n  rate: 5/s\n": "a negative `max_concurrent_requests`",
    "queue:\n- name: a\n  rate: 5/s\n  retry_parameters:\n    task_retry_limit: 1.5\n": "a fraction where",
    "queue:\n- name: a\n  rate: 5/s\n  retry_parameters:\n    max_doublings: 1.5\n": "a fraction where",
}
ALSO_STRICTER = {
    "queue:\n- {name: a, rate: 5/s}\n- {name: a, rate: 6/s}\n": "a queue named twice",
    "queue: [{name: a, rate: 5/s}, {name: a, rate: 6/s}]\n": "a queue named twice",
    "queue:\n- {name: a, rate: 0}\n": "`rate: 0`",
    "queue:\n- {name: a, rate: 0.00000001/d}\n": "a rate below one task in 30 years",
    "queue:\n- {name: a, rate: 5/s, bucket_size: 010}\n": "numbers in octal or hexadecimal",
    "queue:\n- {name: yes, rate: 5/s}\n": "`yes` or `no` as a name",
    "queue:\n- {name: a, rate: 5/s, retry_parameters: {task_age_limit: 1.5s}}\n": "a fraction of a second",
    "queue:\n- {name: a, rate: 5/s, retry_parameters: {max_backoff_seconds: .inf}}\n": "more than ten years",
    "queue:\n- {name: a, rate: 5/s, retry_parameters: {task_retry_limit: 1000001}}\n": "1,000,000 retries",
    "queue:\n- {name: a, mode: pull}\n": "`mode: pull`",
}


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "queue.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    return write


def faults(path: Path) -> list[tuple[int, int, str]]:
    with pytest.raises(ConfigError) as caught:
        load_queue_file(path)
    assert {fault.file for fault in caught.value.faults} == {str(path)}
    return [(fault.line, fault.column, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_every_recorded_file_gets_googles_verdict_and_limits(vector, write):
    path = write(vector["yaml"])
    if not vector["ok"] or vector["yaml"] in STRICTER:
        assert faults(path)
        return
    patched = {call[1].rsplit("/", 1)[1]: call[3] for call in vector["calls"] if call[0] == "patch"}
    loaded = load_queue_file(path)
    assert [queue.name for queue in loaded.queues] == list(patched)
    for queue in loaded.queues:
        rate, retry = patched[queue.name]["rate_limits"], patched[queue.name]["retry_config"]
        assert queue.rate_per_second == rate["maxDispatchesPerSecond"]
        assert queue.bucket_size == rate["maxBurstSize"]
        assert queue.max_concurrent_requests == rate["maxConcurrentDispatches"]
        assert queue.retry.limits.max_attempts == retry["maxAttempts"]
        assert queue.retry.max_doublings == retry["maxDoublings"]
        assert f"{queue.retry.task_age_limit_seconds}s" == retry["maxRetryDuration"]
        assert queue.retry.min_backoff_seconds == float(retry["minBackoff"].removesuffix("s"))
        assert queue.retry.max_backoff_seconds == float(retry["maxBackoff"].removesuffix("s"))
    assert loaded.total_storage_limit == vector.get("total_storage_limit_bytes")


def test_the_stricter_cases_are_ones_that_google_takes():
    taken = {vector["yaml"] for vector in VECTORS if vector["ok"]}
    assert set(STRICTER) <= taken


@pytest.mark.parametrize(("text", "row"), [*STRICTER.items(), *ALSO_STRICTER.items()])
def test_what_headrace_alone_refuses_is_in_the_table(text, row, write):
    assert faults(write(text))
    assert row in DOCS.split("## Where Headrace is stricter than Google")[1]


def test_the_23_queues_of_a_real_application_load():
    queues = {q.name: q for q in load_queue_file(ROOT / "tests/vectors/allofus_queue.yaml").queues}
    assert len(queues) == 23
    assert {queue.target for queue in queues.values()} == {"api"}
    access = queues["synchronizeAccessQueue"]
    assert (access.rate_per_second, access.bucket_size, access.max_concurrent_requests) == (1.0, 500, 10)
    assert access.retry == RetryParameters(task_retry_limit=1, task_age_limit_seconds=300)
    assert access.retry.limits.max_attempts == 2
    assert queues["rdrExportQueue"].rate_per_second == pytest.approx(10 / 60)
    assert queues["rdrExportQueue"].max_concurrent_requests == 1000
    assert queues["createWorkspaceQueue"].retry.limits.max_attempts == 1
    assert queues["reportingUploadQueue"].retry.limits.max_attempts == -1


def test_queues_that_retry_for_ever_are_warned_of():
    loaded = load_queue_file(ROOT / "tests/vectors/allofus_queue.yaml")
    assert [fault.message.split(":")[0] for fault in loaded.warnings] == [
        "accessExpirationEmailQueue",
        "checkPersistentDiskQueue",
        "reportingUploadQueue",
        "cleanupOrphanedWorkspacesQueue",
    ]
    assert {fault.level for fault in loaded.warnings} == {Level.WARNING}


def test_limits_that_are_not_what_they_seem_are_warned_of(write):
    path = write("""\
        queue:
        - name: a
          rate: 0/s
          max_concurrent_requests: 6000
          retry_parameters: {task_retry_limit: 1, max_doublings: 0}
        """)
    loaded = load_queue_file(path)
    assert [(fault.line, fault.column) for fault in loaded.warnings] == [(3, 9), (4, 28), (5, 58)]
    assert loaded.queues[0].max_concurrent_requests == 5000


def test_the_documented_example_loads(write):
    example = DOCS.split("```yaml\n# queue.yaml\n")[1].split("```")[0]
    (queue,) = load_queue_file(write(example)).queues
    assert queue.retry.task_age_limit_seconds == 300


def test_all_faults_of_a_file_come_at_once_in_the_order_of_their_lines(write):
    path = write("""\
        aplication: x
        queue:
        - name: a
          rate: 5
          bucketsize: 3
          task_retry_limit: 3
        - nothing
        - name: a
          rate: 5/s
          rate: 6/s
          retry_parameters:
            min_backoff_seconds: 10
            max_backoff_seconds: 1
        """)
    assert faults(path) == [
        (1, 1, 'unknown key "aplication"; did you mean application?'),
        (4, 9, "rate: needs a unit: 5/s, 5/m, 5/h or 5/d"),
        (5, 3, 'unknown key "bucketsize"; did you mean bucket_size?'),
        (6, 3, 'unknown key "task_retry_limit"; it belongs under retry_parameters'),
        (7, 3, "entry 2 must be a mapping of keys to values"),
        (8, 9, 'name: "a" is already the queue of line 3'),
        (10, 3, "rate: written twice"),
        (12, 26, "min_backoff_seconds: must not be more than max_backoff_seconds"),
    ]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("queue:\n\t- name: a\n", (2, 1), "spaces, not tabs"),
        ("queue: [\n", (2, 1), "is not YAML"),
        ("- name: a\n", (1, 1), "the file must be a mapping"),
        ("queue: 5\n", (1, 8), "queue: must be a list"),
        ("queue:\n- name: a\n  rate: 1/s\n  retry_parameters: []\n", (4, 21), "retry_parameters must be"),
        ("queue:\n- {name: &x a, rate: 1/s}\n", (2, 10), "anchors and aliases"),
        ("queue: !!python/object:os.system x\n", (1, 8), "is not supported"),
        ("queue: " + "[" * 5000, (1, 23), "nested deeper than 16"),
        ("queue: [" + "1," * 50_000 + "]", (1, 100_001), "too many entries"),
        ("? [a]\n: 1\nqueue: []\n", (1, 3), "a key must be a word"),
        ("# nothing\n", (1, 1), "the file is empty"),
        ("a: 1\n---\nb: 2\n", (2, 1), "is not YAML"),
        ("a: \x01\n", (1, 1), "is not YAML"),
        ("queue:\n- {name: a, rate: 1/s, acl: [{foo: x}]}\n", (2, 31), 'unknown key "foo"'),
    ],
)
def test_what_is_no_queue_file_is_one_clear_fault(text, place, message, write):
    first, *_ = faults(write(text))
    assert first[:2] == place
    assert message in first[2]


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path):
    path = tmp_path / "queue.yaml"
    path.write_bytes(b"queue:\n- name: \xff\n")
    assert faults(path) == [(2, 1, "is not UTF-8 text")]


def test_a_file_that_is_too_large_is_not_parsed(tmp_path):
    path = tmp_path / "queue.yaml"
    path.write_bytes(b"#" * (512 * 1024 + 1))
    assert faults(path) == [(0, 0, "is larger than 512 KiB")]


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: error: cannot be read: No such file"):
        load_queue_file(tmp_path / "nowhere.yaml")


def test_a_key_without_a_value_counts_as_absent(write):
    loaded = load_queue_file(write("application:\nqueue:\n- name: a\n  rate: 5/s\n  retry_parameters:\n"))
    assert loaded.queues[0].retry == RetryParameters()
    assert load_queue_file(write("queue:\n")).queues == ()


def test_a_number_in_quotes_is_a_number(write):
    (queue,) = load_queue_file(write('queue:\n- {name: 7, rate: 5/s, bucket_size: "7"}\n')).queues
    assert (queue.name, queue.bucket_size, queue.line) == ("7", 7, 2)


def test_a_backoff_of_0_is_the_default(write):
    retry = "{min_backoff_seconds: 0, max_backoff_seconds: 0}"
    (queue,) = load_queue_file(write(f"queue:\n- {{name: a, rate: 5/s, retry_parameters: {retry}}}\n")).queues
    assert queue.retry == RetryParameters()
