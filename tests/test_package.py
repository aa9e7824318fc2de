"""The wheel holds headrace alone, and everything that it needs when it is installed."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILT_FROM = ["pyproject.toml", "README.md", "LICENSE", "src", "api", "handlers", "governance"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves folders beside what it reads."""
    source = tmp_path_factory.mktemp("source")
    without = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in BUILT_FROM:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=without)
        else:
            shutil.copy(path, source / name)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(source / "dist"),
        str(source),
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (source / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_is_of_pure_python(wheel: Path):
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_wheel_holds_headrace_alone(names: set[str]):
    tops = {name.partition("/")[0] for name in names}
    assert {top.partition("-")[0] for top in tops} == {"headrace"}
    assert len(tops) == 2


def test_every_file_of_the_source_is_in_the_wheel(names: set[str]):
    source = ROOT / "src"
    files = {
        str(path.relative_to(source))
        for path in (source / "headrace").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("headrace/")} == files


@pytest.mark.parametrize("part", ["py.typed", "cloud/descriptors.binpb", "database/migrations/script.py.mako"])
def test_what_is_no_python_is_in_the_wheel(names: set[str], part: str):
    assert f"headrace/{part}" in names


def test_the_licence_and_the_command_are_in_the_wheel(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        contents = {name.partition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        assert b"headrace = headrace.cli:main" in archive.read(contents["entry_points.txt"])
        assert archive.read(contents["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
        assert b"License-Expression: Apache-2.0" in archive.read(contents["METADATA"])
