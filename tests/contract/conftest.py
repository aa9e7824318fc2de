"""Fixtures: an application in a folder, the same served, and a token issuer."""

from pathlib import Path

import pytest

from tests.contract.application import Files, Running, run_application, write_application
from tests.contract.issuer import ISSUER, Issuer


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_application(tmp_path)


@pytest.fixture(scope="session")
def issuer_keys() -> Issuer:
    """One issuer for the session: making RSA keys takes long."""
    return Issuer()


@pytest.fixture
def issuer(issuer_keys: Issuer) -> Issuer:
    issuer_keys.fetched.clear()
    issuer_keys.reachable = True
    return issuer_keys


@pytest.fixture
def running(files: Files, issuer: Issuer) -> Running:
    return run_application(files, issuer.fetch, HEADRACE_TOKEN_ISSUER=ISSUER)
