"""Fixtures of the alerts' tests: a service whose handlers fail, and where its alerts arrive."""

from collections.abc import Iterator

import pytest

from headrace.alerts import Alerting, make_alerting
from headrace.clock import ManualClock
from headrace.config.alerts import Route, Webhook
from headrace.database import Database
from tests.alerts.sinks import Sink, http_sink, smtp_sink
from tests.instance import Instance


@pytest.fixture
def sink() -> Iterator[Sink]:
    with http_sink() as sink:
        yield sink


@pytest.fixture
def mailbox() -> Iterator[Sink]:
    with smtp_sink() as sink:
        yield sink


@pytest.fixture
def alerting(database: Database, clock: ManualClock, instance: Instance, sink: Sink) -> Alerting:
    """The alerts of `instance`, sent to `sink`."""
    routes = [Route("ops", Webhook(f"{sink.url}/ops", secret="word"))]
    return make_alerting(database, instance.contract, clock, routes=routes, service_url="http://service")
