"""What asks and steers queues: over the queue server's own API, over that of Cloud Tasks, and in this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from wsgiref.simple_server import make_server

import pytest

from headrace.clock import ManualClock
from headrace.config.settings import load_settings
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.drivers.cloudtasks_queues import CloudTasksControl
from headrace.drivers.inline import InlineDriver
from headrace.drivers.queue_server import QueueServerControl
from headrace.drivers.queues import QueueControl, QueueControls
from headrace.errors import DriverError, NotFound
from headrace.testing.server import QueueServer
from tests.drivers.conformance import QUEUES, Target
from tests.drivers.control import ADA, Control, Files, NoFiles, Rig
from tests.drivers.test_conformance import BASE, NOW, InProcess, OnQueueServer, Quiet, Threads


@dataclass(kw_only=True)
class SteeredServer(OnQueueServer):
    control: QueueControl


@dataclass(kw_only=True)
class SteeredHere(InProcess):
    control: QueueControl


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueServer]:
    folder = tmp_path_factory.mktemp("queue-server")
    (folder / "queue.yaml").write_text(QUEUES)
    server = QueueServer(folder, ["--queues", str(folder / "queue.yaml")])
    yield server
    server.close()


@contextmanager
def serving(server: QueueServer, control: QueueControl) -> Iterator[Rig]:
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
        base = f"http://127.0.0.1:{http.server_port}"
        yield SteeredServer(driver, target, base, server, control=control)
        driver.close()
        control.close()
        http.shutdown()
        thread.join()


def by_own_api(server: QueueServer) -> QueueServerControl:
    return QueueServerControl(server.rest, project=server.project, location=server.location, token=None)


class TestQueueServer(Control, Files):
    @pytest.fixture
    def rig(self, server: QueueServer) -> Iterator[Rig]:
        with serving(server, by_own_api(server)) as rig:
            yield rig

    def test_the_server_writes_down_who_did_what(self, rig: Rig, server: QueueServer) -> None:
        rig.control.pause("work", actor="Åsa")
        newest = server.call("GET", "/audit")["audit"][0]
        assert (newest["actor"], newest["action"]) == ("Åsa", "pause_queue")


class TestCloudTasks(Control, NoFiles):
    @pytest.fixture
    def rig(self, server: QueueServer) -> Iterator[Rig]:
        control = CloudTasksControl(project=server.project, location=server.location, emulator_host=server.grpc)
        with serving(server, control) as rig:
            yield rig


class TestInline(Control, Files):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        (tmp_path / "queue.yaml").write_text(QUEUES)
        clock = ManualClock(NOW)
        inline = InlineDriver(load_settings({"HEADRACE_SERVICE_URL": BASE}, folder=tmp_path), clock, fires=True)
        target = Target()
        inline.start(target)
        yield SteeredHere(inline, target, clock, inline, control=inline.control)
        inline.close()

    def test_limits_are_in_force_after_a_restart(self, rig: Rig, tmp_path: Path) -> None:
        changed = {status.name: status for status in rig.control.list()}["work"].limits.changed({"max_attempts": 9})
        rig.control.limit("work", changed, actor=ADA)
        assert isinstance(rig.driver, InlineDriver)
        rig.driver.close()
        again = InlineDriver(
            load_settings({"HEADRACE_SERVICE_URL": BASE}, folder=tmp_path), ManualClock(NOW), fires=True
        )
        again.start(Target())
        status = again.control.show("work")
        again.close()
        assert status is not None
        assert (status.limits, status.set_by) == (changed, ADA)

    def test_queues_that_do_not_run_cannot_be_asked(self, rig: Rig) -> None:
        rig.driver.close()
        with pytest.raises(DriverError, match="does not run"):
            rig.control.list()


def test_a_server_that_is_gone_or_silent_cannot_be_asked_and_is_waited_for_two_seconds(unused_port: int) -> None:
    gone = QueueServerControl(f"http://127.0.0.1:{unused_port}", project="p", location="l", token=None)
    with pytest.raises(DriverError, match="could not be asked"):
        gone.list()
    begun = time.monotonic()
    gone_too = CloudTasksControl(project="p", location="l", emulator_host=f"127.0.0.1:{unused_port}")
    with pytest.raises(DriverError, match="could not be asked"):
        gone_too.list()
    assert QueueControls({"cloudtasks": gone}, "cloudtasks", {}).list() == {}
    assert time.monotonic() - begun < 5
    gone_too.close()


def test_an_answer_that_is_no_document_is_no_answer(server: QueueServer) -> None:
    elsewhere = QueueServerControl(f"{server.rest}/nowhere", project="p", location="l", token=None)
    with pytest.raises((DriverError, NotFound)):
        elsewhere.list()


def test_a_queue_is_asked_by_what_carries_it(server: QueueServer, unused_port: int) -> None:
    gone = QueueServerControl(f"http://127.0.0.1:{unused_port}", project="p", location="l", token=None)
    carried = {"work": frozenset({"cloudtasks"}), "other": frozenset({"inline"})}
    controls = QueueControls({"cloudtasks": by_own_api(server), "inline": gone}, "cloudtasks", carried)
    assert "work" in controls.list()
    assert "other" not in controls.list(), "its driver cannot be asked"
    assert controls.of("other") == [gone]
    with pytest.raises(DriverError, match="Nothing here can ask"):
        QueueControls({}, "cloudtasks", {}).of("work")
