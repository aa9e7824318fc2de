"""The drivers against what every driver does: `cloudtasks` on a real queue server, `inline`, and the queue of tests."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from headrace.clock import ManualClock
from headrace.cloud.files import make_queues
from headrace.cloud.tokens import TokenIssuer, make_key
from headrace.config.queues import load_queue_file
from headrace.config.settings import load_settings
from headrace.drivers.base import Driver, PushOutcome
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.drivers.inline import InlineDriver
from headrace.drivers.routing import Drivers
from headrace.testing.manual import ManualQueue
from headrace.testing.server import QueueServer
from tests.drivers.conformance import QUEUES, Concurrency, Conformance, Rig, Target, outcomes, push
from tests.drivers.no_delay import NoDelay

NOW = 1_800_000_000.0
BASE = "http://service.test"
KEY = make_key()


@dataclass
class OnQueueServer:
    """A queue server in a process of its own, and a target behind HTTP."""

    driver: CloudTasksDriver
    target: Target
    base: str
    server: QueueServer

    def now(self) -> float:
        return self.server.now()

    def advance(self, seconds: float) -> None:
        self.server.wait_until_idle()
        self.server.advance(seconds)

    def purge(self, queue: str) -> None:
        self.server.client().purge_queue(name=f"{self.server.parent}/queues/{queue}")


@dataclass
class InProcess:
    """The engine in this process, on a clock that the test moves."""

    driver: Driver
    target: Target
    clock: ManualClock
    inline: InlineDriver
    base: str = BASE

    def now(self) -> float:
        return self.clock.now()

    def advance(self, seconds: float) -> None:
        self.inline.settle()
        self.clock.advance(seconds)
        self.inline.settle()

    def purge(self, queue: str) -> None:
        self.inline._ask(lambda engine: engine.purge_queue(self.inline._full(queue)))


@dataclass
class ByHand:
    """The queue of the tests of an application."""

    driver: Driver
    target: Target
    clock: ManualClock
    queue: ManualQueue
    base: str = BASE

    def now(self) -> float:
        return self.clock.now()

    def advance(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        while (due := self.queue.next_due()) <= until and due < float("inf"):
            self.queue.deliver_next()
        self.clock.advance(max(0.0, until - self.clock.now()))

    def purge(self, queue: str) -> None:
        self.queue.purge(queue)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "queue.yaml").write_text(QUEUES)
    return tmp_path


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def inline(folder: Path, clock: ManualClock) -> Iterator[InlineDriver]:
    driver = InlineDriver(load_settings({"HEADRACE_SERVICE_URL": BASE}, folder=folder), clock, fires=True)
    yield driver
    driver.close()


@pytest.fixture
def by_hand(folder: Path, clock: ManualClock) -> ByHand:
    queues = make_queues(load_queue_file(folder / "queue.yaml"), "p", "l", 3600.0)
    tokens = TokenIssuer("http://issuer", KEY, clock)
    queue, target = ManualQueue(queues, clock, tokens, account="tasks@p", audience=BASE), Target()
    queue.connect(target)
    return ByHand(queue, target, clock, queue)


class Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueServer]:
    folder = tmp_path_factory.mktemp("queue-server")
    (folder / "queue.yaml").write_text(QUEUES)
    server = QueueServer(folder, ["--queues", str(folder / "queue.yaml")])
    yield server
    server.close()


class TestCloudTasks(Conformance, Concurrency):
    @pytest.fixture
    def rig(self, server: QueueServer) -> Iterator[Rig]:
        server.reset()
        target = Target()
        with make_server("127.0.0.1", 0, target, Threads, Quiet) as http:
            thread = threading.Thread(target=http.serve_forever)
            thread.start()
            driver = CloudTasksDriver(
                project=server.project,
                location=server.location,
                service_account="tasks@p.iam.gserviceaccount.com",
                audience=BASE,
                emulator_host=server.grpc,
                monotonic=lambda: 0.0,
            )
            yield OnQueueServer(driver, target, f"http://127.0.0.1:{http.server_port}", server)
            driver.close()
            http.shutdown()
            thread.join()


class TestInline(Conformance, Concurrency):
    @pytest.fixture
    def rig(self, inline: InlineDriver, clock: ManualClock) -> Rig:
        target = Target()
        inline.start(target)
        return InProcess(inline, target, clock, inline)


class TestSeveralDrivers(Conformance, Concurrency):
    @pytest.fixture
    def rig(self, inline: InlineDriver, by_hand: ByHand, clock: ManualClock) -> Rig:
        target = Target()
        inline.start(target)
        drivers = Drivers({"inline": inline, "manual": by_hand.queue}, "inline", {"other": frozenset({"inline"})})
        return InProcess(drivers, target, clock, inline)


class TestManual(Conformance):
    @pytest.fixture
    def rig(self, by_hand: ByHand) -> Rig:
        return by_hand


class TestWithoutDelay(Conformance):
    @pytest.fixture
    def rig(self, by_hand: ByHand) -> Rig:
        by_hand.driver = NoDelay(by_hand.queue, by_hand.clock)
        return by_hand

    def test_a_task_with_a_time_waits_for_it(self, rig: Rig) -> None:
        """It is refused instead: the service keeps it back until it is due."""
        assert outcomes(rig, push(rig, "later", delay=60)) == [PushOutcome.REFUSED]

    def test_tasks_that_were_purged_are_missing(self, rig: Rig) -> None:
        rig.target.answers["gone"] = [500]
        rig.driver.push_many([push(rig, "gone")])
        rig.advance(0)
        rig.purge("work")
        assert rig.driver.missing("work", ["gone"]) == {"gone"}
