"""What every driver does, as tests: a driver passes by a subclass of `Conformance` with a `rig` of its own."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from headrace.drivers.base import Driver, Push, PushOutcome

URL = "/v1/cloudTask/work"
QUEUES = """
queue:
- {name: work, rate: 500/s, bucket_size: 100, retry_parameters: {min_backoff_seconds: 10, max_backoff_seconds: 10}}
- {name: other, rate: 500/s, bucket_size: 100}
- {name: narrow, rate: 500/s, bucket_size: 100, max_concurrent_requests: 2}
- {name: short, rate: 500/s, retry_parameters: {task_retry_limit: 1, min_backoff_seconds: 1, max_backoff_seconds: 1}}
"""
WAIT = 30.0
"""Seconds that a test waits for what has to happen, before it fails."""


@dataclass(frozen=True)
class Received:
    """One request, as the target got it; `headers` as WSGI names them."""

    task: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Target:
    """A WSGI application that notes what it is sent, and answers 200, or what `answers` says of a task in turn."""

    answers: dict[str, list[int]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    at_work: int = 0
    most_at_work: int = 0
    held: set[str] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        task = environ["HTTP_X_CLOUDTASKS_TASKNAME"]
        headers = {name: value for name, value in environ.items() if name.startswith(("HTTP_", "CONTENT_"))}
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        with self.changed:
            self.received.append(Received(task, environ["PATH_INFO"], headers, body))
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
            self.changed.notify_all()
            self.changed.wait_for(lambda: environ["HTTP_X_CLOUDTASKS_QUEUENAME"] not in self.held, WAIT)
            self.at_work -= 1
            self.changed.notify_all()
        status = self.answers[task].pop(0) if self.answers.get(task) else 200
        start_response(f"{status} Word", [("Content-Length", "0")])
        return [b""]

    def tasks(self) -> list[str]:
        """The names of the tasks that came, in order."""
        return [each.task for each in self.received]

    def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait until it is so; it is looked at whenever a request comes or ends."""
        with self.changed:
            assert self.changed.wait_for(holds, WAIT)

    def hold(self, queue: str) -> None:
        """Answer nothing that comes from a queue until `let_go`."""
        self.held.add(queue)

    def let_go(self, queue: str) -> None:
        with self.changed:
            self.held.discard(queue)
            self.changed.notify_all()


class Rig(Protocol):
    """A driver, what it delivers to, and its time."""

    driver: Driver
    target: Target
    base: str

    def now(self) -> float: ...

    def advance(self, seconds: float) -> None:
        """Let time pass (0: none), with all that falls due delivered to its end."""

    def purge(self, queue: str) -> None: ...


def push(
    rig: Rig,
    name: str,
    queue: str = "work",
    *,
    body: bytes = b"[1]",
    delay: float | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Push:
    schedule_at = None if delay is None else rig.now() + delay
    return Push(queue, name, rig.base + URL, body, 30.0, schedule_at, headers)


def outcomes(rig: Rig, *pushes: Push) -> list[PushOutcome]:
    return [result.outcome for result in rig.driver.push_many(pushes)]


class Conformance:
    """For every driver."""

    def test_a_pushed_task_is_delivered_and_is_gone_then(self, rig: Rig) -> None:
        task = push(rig, "one", body=b'{"user": 7}', headers=(("Headrace-Claim", "12"),))
        assert outcomes(rig, task) == [PushOutcome.PUSHED]
        rig.advance(0)
        (received,) = rig.target.received
        assert (received.task, received.path, received.body) == ("one", URL, b'{"user": 7}')
        assert received.headers["HTTP_X_CLOUDTASKS_QUEUENAME"] == "work"
        assert received.headers["HTTP_X_CLOUDTASKS_TASKRETRYCOUNT"] == "0"
        assert received.headers["HTTP_HEADRACE_CLAIM"] == "12"
        assert received.headers["CONTENT_TYPE"] == "application/json"
        assert received.headers["HTTP_AUTHORIZATION"].startswith("Bearer ey")
        assert rig.driver.missing("work", ["one"]) == {"one"}

    def test_many_tasks_for_several_queues_are_all_delivered(self, rig: Rig) -> None:
        tasks = [push(rig, f"task-{number}", ("work", "other")[number % 2]) for number in range(60)]
        assert outcomes(rig, *tasks) == [PushOutcome.PUSHED] * 60
        rig.advance(0)
        assert sorted(rig.target.tasks()) == sorted(task.name for task in tasks)

    def test_a_task_with_a_time_waits_for_it(self, rig: Rig) -> None:
        assert outcomes(rig, push(rig, "later", delay=60), push(rig, "now")) == [PushOutcome.PUSHED] * 2
        rig.advance(0)
        rig.advance(30)
        assert rig.target.tasks() == ["now"]
        assert rig.driver.missing("work", ["now", "later"]) == {"now"}
        rig.advance(31)
        assert rig.target.tasks() == ["now", "later"]

    def test_the_longest_delay_is_taken(self, rig: Rig) -> None:
        assert outcomes(rig, push(rig, "last", delay=rig.driver.max_delay)) == [PushOutcome.PUSHED]

    def test_a_failed_delivery_is_made_again_after_the_backoff(self, rig: Rig) -> None:
        rig.target.answers["again"] = [500]
        rig.driver.push_many([push(rig, "again")])
        rig.advance(0)
        rig.advance(5)
        assert rig.target.tasks() == ["again"]
        assert rig.driver.missing("work", ["again"]) == set()
        rig.advance(6)
        assert rig.target.tasks() == ["again", "again"]
        assert rig.target.received[1].headers["HTTP_X_CLOUDTASKS_TASKRETRYCOUNT"] == "1"
        assert rig.target.received[1].headers["HTTP_X_CLOUDTASKS_TASKPREVIOUSRESPONSE"] == "500"
        assert rig.driver.missing("work", ["again"]) == {"again"}

    def test_a_task_whose_retries_are_used_up_is_missing(self, rig: Rig) -> None:
        rig.target.answers["lost"] = [500, 500]
        rig.driver.push_many([push(rig, "lost", "short")])
        rig.advance(0)
        rig.advance(100)
        assert rig.target.tasks() == ["lost", "lost"]
        assert rig.driver.missing("short", ["lost"]) == {"lost"}

    @pytest.mark.parametrize("count", [1, 3])
    def test_a_name_is_taken_once_also_when_its_task_is_done(self, rig: Rig, count: int) -> None:
        tasks = [push(rig, f"task-{number}") for number in range(count)]
        assert outcomes(rig, *tasks) == [PushOutcome.PUSHED] * count
        assert outcomes(rig, *tasks) == [PushOutcome.DUPLICATE] * count
        rig.advance(0)
        assert outcomes(rig, *tasks) == [PushOutcome.DUPLICATE] * count
        rig.advance(0)
        assert len(rig.target.received) == count

    def test_the_largest_body_is_taken_and_a_larger_one_refused_without_its_company(self, rig: Rig) -> None:
        largest = push(rig, "largest", body=b"1" * rig.driver.max_body)
        larger = push(rig, "larger", body=b"1" * (rig.driver.max_body + 100_000))
        wanted = [PushOutcome.PUSHED, PushOutcome.REFUSED, PushOutcome.PUSHED]
        assert outcomes(rig, largest, larger, push(rig, "small")) == wanted

    def test_a_queue_that_is_missing_is_told_and_its_pushes_wait(self, rig: Rig) -> None:
        assert rig.driver.has_queue("work")
        assert not rig.driver.has_queue("none")
        assert outcomes(rig, push(rig, "lost", "none")) == [PushOutcome.UNAVAILABLE]
        assert rig.driver.missing("none", ["lost"]) == {"lost"}

    def test_tasks_that_were_purged_are_missing(self, rig: Rig) -> None:
        rig.driver.push_many([push(rig, "gone", delay=60), push(rig, "kept", "other", delay=60)])
        rig.purge("work")
        assert rig.driver.missing("work", ["gone"]) == {"gone"}
        assert rig.driver.missing("other", ["kept"]) == set()
        rig.advance(61)
        assert rig.target.tasks() == ["kept"]


class Concurrency:
    """For drivers that deliver several tasks at a time."""

    def test_a_queue_delivers_no_more_at_a_time_than_its_cap(self, rig: Rig) -> None:
        rig.target.hold("narrow")
        rig.driver.push_many([push(rig, f"task-{number}", "narrow") for number in range(5)])
        rig.target.wait_for(lambda: rig.target.at_work == 2)
        # What comes through another queue now was taken up after the rest of this one.
        rig.driver.push_many([push(rig, "beside", "other")])
        rig.target.wait_for(lambda: "beside" in rig.target.tasks())
        assert len(rig.target.received) == 3
        rig.target.let_go("narrow")
        rig.target.wait_for(lambda: len(rig.target.received) == 6)
        assert rig.target.most_at_work <= 3
