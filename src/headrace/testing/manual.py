"""A queue that a test works by hand: real requests, guards and retry limits, in the test's own thread and time."""

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from wsgiref.types import WSGIApplication

from headrace.clock import MovableClock
from headrace.drivers.base import Push, PushOutcome, PushResult
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.engine.dispatcher import TokenSource
from headrace.engine.encoding import decode_target, encode_target
from headrace.engine.model import AppEngineUrls, HttpTarget, OidcToken, Queue
from headrace.engine.outcome import Failure, after_failure, retry_after
from headrace.engine.store.interface import Record
from headrace.engine.target import compose, prepare
from headrace.engine.wsgi import call
from headrace.testing.pushes import Pushed

_NOWHERE = AppEngineUrls("")
_SHOWN = 10
_SHOWN_BYTES = 500


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivery: the task's name, its queue, what the service answered, and what was raised before it did."""

    queue: str
    task: str
    status: int
    body: bytes
    error: Exception | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the answer ended the task."""
        return 200 <= self.status < 300


@dataclass(slots=True)
class _Held:
    """A task, also when it is gone. `answers` are those to its deliveries, the first one first.

    `at_once`: its first delivery is not the test's to ask for.
    """

    queue: Queue
    record: Record
    at_once: bool
    waits: bool = True
    answers: list[Delivered] = field(default_factory=list)

    @property
    def short_name(self) -> str:
        return self.queue.name.rpartition("/")[2]

    @property
    def name(self) -> str:
        return self.record.name or ""


class ManualQueue:
    """A driver whose tasks wait until the test has them delivered; with `at_once`, first deliveries do not wait.

    `queues` have the retry limits; rates and caps mean nothing here, for one task is delivered at a time. Pushes
    carry a token of `account` for `audience`. The clock moves where a delivery has to wait for its time.
    """

    name = "manual"
    max_body = CloudTasksDriver.max_body
    max_delay = CloudTasksDriver.max_delay

    def __init__(
        self, queues: Iterable[Queue], clock: MovableClock, tokens: TokenSource, *, account: str, audience: str
    ) -> None:
        self.at_once = False
        self._queues = {queue.name.rpartition("/")[2]: queue for queue in queues}
        self._clock = clock
        self._tokens = tokens
        self._token = OidcToken(account, audience)
        self._application: WSGIApplication | None = None
        self._held: dict[tuple[str, str], _Held] = {}
        self._delivering = False
        self._raised: Exception | None = None
        self._lock = threading.Lock()

    def connect(self, application: WSGIApplication) -> None:
        """Deliver to `application`."""
        self._application = application

    def note(self, error: Exception) -> None:
        """Something was raised in the delivery that goes on."""
        self._raised = error

    # What the service asks of a driver.

    def push_many(self, pushes: Sequence[Push]) -> list[PushResult]:
        """See `Driver.push_many`."""
        with self._lock:
            results = [self._take(push) for push in pushes]
        # What a delivery pushes follows it: a chain of tasks is as deep as one.
        while self.at_once and not self._delivering and (held := self._first_at_once()) is not None:
            self._deliver(held)
        return results

    def missing(self, queue: str, names: Sequence[str]) -> set[str]:
        """See `Driver.missing`."""
        return {name for name in names if not ((held := self._held.get((queue, name))) and held.waits)}

    def has_queue(self, queue: str) -> bool:
        """See `Driver.has_queue`."""
        return queue in self._queues

    def close(self) -> None:
        """Nothing is open."""

    # What a test does with it.

    def deliver_next(self, queue: str | None = None) -> Delivered | None:
        """Deliver the task (of one queue) that is due first, at its time; None where none waits."""
        held = self._next(queue, retries=None)
        return None if held is None else self._deliver(held)

    def next_due(self) -> float:
        """When the first waiting task may be delivered; infinity where none waits."""
        held = self._next(None, retries=None)
        return math.inf if held is None else held.record.due

    def drain(self, queue: str | None = None, *, retries: int = 0) -> int:
        """Deliver until no task (of one queue) waits, future ones too; how many deliveries that were.

        A task that fails is delivered again at most `retries` times, as the queue's limits allow.
        AssertionError, with the answers and what was raised, for tasks whose last delivery failed.
        """
        __tracebackhide__ = True
        tried: list[_Held] = []
        while (held := self._next(queue, retries=retries)) is not None:
            self._deliver(held)
            tried.append(held)
        failed = {id(held): held for held in tried if not held.answers[-1].succeeded}
        if failed:
            first, *_ = failed.values()
            raise AssertionError(_explain(list(failed.values()))) from first.answers[-1].error
        return len(tried)

    def purge(self, queue: str) -> None:
        """Let the tasks of a queue vanish, as one that is purged does."""
        for held in self._held.values():
            if held.short_name == queue:
                held.waits = False

    def pushed(self, queue: str | None = None) -> list[Pushed]:
        """Every task (of one queue) that was pushed, in the order of the pushes."""
        return [self._show(held) for held in self._held.values() if queue in (None, held.short_name)]

    def _take(self, push: Push) -> PushResult:
        queue = self._queues.get(push.queue)
        if queue is None:
            return PushResult(PushOutcome.UNAVAILABLE, "queue.yaml has no such queue.")
        if len(push.body) > self.max_body:
            return PushResult(PushOutcome.REFUSED, f"The task is larger than {self.max_body} bytes.")
        if (push.queue, push.name) in self._held:
            return PushResult(PushOutcome.DUPLICATE)
        now = self._clock.now()
        headers = (("Content-Type", "application/json"), *push.headers)
        record = Record(
            id=len(self._held),
            queue_id=0,
            due=max(now, push.schedule_at or now),
            name=push.name,
            created_at=now,
            dispatch_deadline=push.deadline,
            target=encode_target(HttpTarget(push.url, "POST", headers, b"", self._token)),
            body=push.body,
        )
        self._held[push.queue, push.name] = _Held(queue, record, self.at_once)
        return PushResult(PushOutcome.PUSHED)

    def _next(self, queue: str | None, retries: int | None) -> _Held | None:
        """The waiting task that is due first, of those that were delivered at most `retries` times."""
        waiting = (
            held
            for held in self._held.values()
            if held.waits
            and queue in (None, held.short_name)
            and (retries is None or held.record.dispatch_count <= retries)
        )
        return min(waiting, key=lambda held: (held.record.due, held.record.id), default=None)

    def _first_at_once(self) -> _Held | None:
        now = self._clock.now()
        ready = (
            held
            for held in self._held.values()
            if held.waits and held.at_once and not held.answers and held.record.due <= now
        )
        return next(ready, None)

    def _deliver(self, held: _Held) -> Delivered:
        if self._application is None:
            raise RuntimeError("The queue was not connected to an application.")
        record = held.record
        self._clock.advance(max(0.0, record.due - self._clock.now()))
        prepared = prepare(record.target, held.short_name, None, None, _NOWHERE)
        payload = compose(prepared, record, self._tokens.token(self._token))
        begun = self._clock.now()
        outer, self._delivering, self._raised = self._delivering, True, None
        answer = call(self._application, prepared.origin, payload)
        self._delivering = outer
        delivered = Delivered(held.short_name, held.name, answer.status, answer.body, self._raised)
        held.answers.append(delivered)
        now = self._clock.now()
        wait = retry_after(answer.status, answer.headers, now)
        failure = Failure(begun, now, now, answer.status, "", wait)
        retried = None if delivered.succeeded else after_failure(record, held.queue, failure)
        held.waits = held.waits and retried is not None
        held.record = retried or record
        return delivered

    def _show(self, held: _Held) -> Pushed:
        target = decode_target(held.record.target, held.record.body)
        assert isinstance(target, HttpTarget)
        seconds = held.record.due - self._clock.now()
        return Pushed(
            name=held.name,
            method=target.method,
            url=target.url,
            headers=dict(target.headers),
            body=target.body,
            statuses=tuple(answer.status for answer in held.answers),
            waits=None if not held.waits else "due now" if seconds <= 0 else f"due in {seconds:g} s",
        )


def _explain(failed: Sequence[_Held]) -> str:
    lines = [f"drain left {len(failed)} task{'' if len(failed) == 1 else 's'} that failed:"]
    for held in failed[:_SHOWN]:
        answers = ", ".join(str(answer.status) for answer in held.answers)
        last = held.answers[-1]
        why = repr(last.error) if last.error else last.body[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
        fate = "waits for its retry" if held.waits else "is given up"
        lines.append(f"  {held.name} of {held.short_name} {fate}; answered {answers}: {why}")
    return "\n".join(lines)
