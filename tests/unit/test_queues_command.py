"""`headrace queues check`, and the commands that `headrace` lists."""

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from headrace.cli import main

ROOT = Path(__file__).parents[2]


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_good_file_is_one_line_and_its_warnings():
    result = run("queues", "check", ROOT / "tests/vectors/allofus_queue.yaml")
    *warnings, summary = result.output.splitlines()
    assert result.exit_code == 0
    assert summary.endswith("allofus_queue.yaml: 23 queues, 4 warnings")
    assert all(": warning: " in line for line in warnings)


def test_a_bad_file_is_its_faults_and_status_1(tmp_path):
    path = tmp_path / "queue.yaml"
    path.write_text("queue:\n- name: a\n  rate: 5\n  bucketsize: 3\n")
    result = run("queues", "check", path)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{path}:3:9: error: rate: needs a unit: 5/s, 5/m, 5/h or 5/d",
        f'{path}:4:3: error: unknown key "bucketsize"; did you mean bucket_size?',
        f"{path}: 2 errors",
    ]


def test_faults_as_json(tmp_path):
    path = tmp_path / "queue.yaml"
    path.write_text("queue:\n- name: a\n")
    result = run("queues", "check", path, "--json")
    assert result.exit_code == 1
    (fault,) = json.loads(result.output)
    assert (fault["file"], fault["line"], fault["column"], fault["level"]) == (str(path), 2, 3, "error")
    assert "rate: is missing" in fault["message"]


def test_a_missing_file_is_one_clear_fault(tmp_path):
    result = run("queues", "check", tmp_path / "queue.yaml")
    assert result.exit_code == 1
    assert "cannot be read: No such file or directory" in result.output


def test_an_overlay_is_judged_with_its_base(tmp_path):
    (tmp_path / "queue.yaml").write_text("queue:\n- name: a\n  rate: 5/s\n")
    (tmp_path / "queue.test.yaml").write_text("queue:\n- name: b\n")
    assert run("queues", "check", tmp_path / "queue.yaml").exit_code == 0
    result = run("queues", "check", tmp_path / "queue.yaml", "--env", "test")
    assert result.exit_code == 1
    assert f'{tmp_path}/queue.test.yaml:2:9: error: name: the base file has no "b"' in result.output


def test_help_lists_every_group_and_imports_none():
    code = (
        "import sys; from headrace.cli import main; main(['--help'], standalone_mode=False);"
        "sys.exit(any(name.startswith('headrace.cli.') for name in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed = result.stdout.split("Commands:")[1]
    for group in ("dev", "check", "emulator", "runs", "queues", "schedules", "database"):
        assert f"\n  {group} " in listed


def test_an_unknown_command_is_a_wrong_use():
    result = run("ques")
    assert result.exit_code == 2
    assert "No such command" in result.output


def test_a_queue_server_that_cannot_be_called_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "127.0.0.1:1")
    result = run("queues", "list", "--app", tmp_path)
    assert result.exit_code == 1
    assert "The queue server at 127.0.0.1:1 does not list its queues: 503" in f"{result.output}{result.exception}"
