"""A service of Headrace on the clock that a queue server's tests move."""

from pathlib import Path

import pytest

from headrace.clock import SharedClock
from headrace.errors import ConfigError
from headrace.service import create_app
from headrace.service.current import Service

ROOT = Path(__file__).resolve().parents[2]


def service_of(environment: dict[str, str]) -> Service:
    service: Service = create_app(ROOT, environment=environment).extensions["headrace"]
    return service


def test_the_service_follows_the_file(tmp_path: Path) -> None:
    service = service_of({"HEADRACE_TEST_CLOCK": str(tmp_path / "clock"), "HEADRACE_DATA": str(tmp_path)})
    before = service.clock.now()
    SharedClock(tmp_path / "clock").advance(86_400)
    assert 86_400 <= service.clock.now() - before < 86_400 + 60


def test_a_file_that_is_no_clock_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("buy more milk")
    with pytest.raises(ConfigError, match=r"HEADRACE_TEST_CLOCK: .*list holds 13 bytes"):
        service_of({"HEADRACE_TEST_CLOCK": str(tmp_path / "list"), "HEADRACE_DATA": str(tmp_path)})
