"""A database that is observed."""

from collections.abc import Callable, Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.observability.metrics import Metrics
from tests.contract.conftest import files, issuer, issuer_keys, running
from tests.instance import HANDLER

__all__ = ["files", "issuer", "issuer_keys", "running"]

Samples = Mapping[tuple[str, tuple[str, ...]], float]
"""Values by name and the values of the labels, sorted by their labels' names."""


@pytest.fixture
def scrape(database: Database, clock: ManualClock) -> Callable[[], Samples]:
    """Observe the database from now on; what is returned reads the metrics as Prometheus does."""
    metrics = Metrics({HANDLER: "work"})
    database.observer = metrics
    return lambda: samples_in(metrics.expose(database, clock).decode())


def samples_in(text: str) -> Samples:
    """The samples of an exposition."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
