"""The site that is hurt, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.site import Site, run_site


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    with run_site(tmp_path, database_url) as site:
        yield site
