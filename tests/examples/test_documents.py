"""The snippets of the other documents: files load, commands run, code is of the product as it is."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace
from headrace.config import load_cron_file, load_queue_file
from headrace.contract.binding import find_object
from tests.examples.fences import ROOT, documents, fences_of

ELSEWHERE = {
    "README.md": "tests/examples/test_readme.py",
    "docs/alerts.md": "tests/alerts/test_routes.py",
    "docs/deploy.md": "tests/governance/test_deploy.py",
    "docs/jobs.md": "tests/examples/test_jobs_page.py",
    "docs/queues.md": "tests/cli/test_json.py",
    "docs/emulator.md": "tests/cloud/test_emulator_document.py",
    "docs/testing.md": "tests/testing/test_document.py",
}
HERE = {"CONTRIBUTING.md", "docs/architecture.md", "docs/files.md"}


def test_every_document_with_snippets_has_a_test_that_reads_it():
    with_snippets = {
        str(path.relative_to(ROOT))
        for path in documents()
        if any(fence.language for fence in fences_of(str(path.relative_to(ROOT))))
    }
    assert with_snippets == HERE | ELSEWHERE.keys()
    for document, test in ELSEWHERE.items():
        assert Path(document).name in (ROOT / test).read_text()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the files that docs/files.md shows."""
    fences = fences_of("docs/files.md")
    assert all(fence.file for fence in fences)
    for fence in fences:
        (tmp_path / fence.file).write_text(fence.text)
    return tmp_path


def test_the_queues_and_schedules_of_the_files_page_load(files: Path):
    (queue,) = load_queue_file(files / "queue.yaml").queues
    assert (queue.name, queue.rate_per_second, queue.bucket_size) == ("synchronizeAccessQueue", 1, 500)
    assert [entry.schedule for entry in load_cron_file(files / "cron.yaml").entries] == [
        "every day 23:00",
        "*/5 * * * *",
    ]


def test_the_overlays_of_the_files_page_change_what_the_page_says(files: Path):
    (queue,) = load_queue_file(files / "queue.yaml", "test").queues
    assert (queue.rate_per_second, queue.retry.limits.max_attempts, queue.retry.task_age_limit_seconds) == (10, 1, 300)
    crons = load_cron_file(files / "cron.yaml", "test")
    assert [entry.url for entry in crons.entries] == ["/v1/cron/checkPendingEgressEvents"]
    assert crons.skipped == (("/v1/cron/synchronizeUserAccess", "nobody has access to lose in this environment"),)


@pytest.mark.parametrize("command", [line for fence in fences_of("CONTRIBUTING.md") for line in fence.commands])
def test_the_commands_of_the_contributing_page_run(command: str):
    arguments = shlex.split(command.replace(".venv/bin/", f"{Path(sys.executable).parent}/"))
    ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_a_document_names_is_there(document: str):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"`make ([a-z]+)", (ROOT / document).read_text())
    assert named
    assert set(named) <= set(targets)


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md", "docs/dependencies.md"])
def test_every_file_that_a_document_names_is_there(document: str):
    named = re.findall(r"`((?:src|tests|docs|api|handlers|governance)/[\w./-]*)`", (ROOT / document).read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def sections() -> Iterator[tuple[str, str]]:
    """The modules of the code in docs/architecture.md: the Python path that a comment gives, and the code below it."""
    for fence in fences_of("docs/architecture.md"):
        if fence.language == "python":
            for part in re.split(r"^(?=# \w+/)", fence.text, flags=re.MULTILINE):
                head, _, code = part.partition("\n")
                match = re.match(r"# ([\w/]+)\.py", head)
                if match:
                    yield match[1].replace("/", "."), code


SECTIONS = dict(sections())


def test_the_architecture_shows_a_job_its_items_and_its_handler():
    assert list(SECTIONS) == ["api.access", "governance.users", "handlers.access"]


@pytest.mark.parametrize("module", SECTIONS)
def test_the_code_of_the_architecture_is_of_functions_that_are_there(module: str):
    tree = ast.parse(SECTIONS[module])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module == "headrace"
            assert {alias.name for alias in node.names} <= set(headrace.__all__)
        elif isinstance(node, ast.FunctionDef):
            code = find_object(f"{module}.{node.name}").__code__
            assert [each.arg for each in node.args.args] == list(code.co_varnames[: code.co_argcount])
        elif isinstance(node, ast.Attribute) and re.match(r"(governance|handlers)\.\w+\.\w+$", ast.unparse(node)):
            assert callable(find_object(ast.unparse(node)))
