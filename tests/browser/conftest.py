"""One stage for all tests of a file, and a person who is logged in."""

from collections.abc import Iterator

import pytest

from tests.browser.stage import Stage, Visit, open_stage
from tools import chromium

USERS = 2_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A queue slow enough for a run that lasts some seconds."""
    if chromium.find() is None:
        pytest.skip("there is no Chromium on this machine")
    with open_stage(tmp_path_factory.mktemp("browser"), users=USERS, rate="8/s") as opened:
        yield opened


@pytest.fixture
def visit(stage: Stage) -> Iterator[Visit]:
    """A wide, light window. Whatever the test did in it, nothing went wrong on any page."""
    with stage.visit() as opened:
        yield opened
        assert opened.faults == []
