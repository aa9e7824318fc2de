"""Effects happen once, or a person is asked."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from headrace.clock import ManualClock
from headrace.database import Database, effect_rows
from headrace.database.states import BatchState, EffectState, ItemState, Outcome
from headrace.errors import EffectNotDone, LostLease
from headrace.execution.batch import Batch
from headrace.execution.effects import name_effect
from headrace.execution.items import Item
from tests.execution.one_batch import Killed, OneBatch, write
from tests.instance import written
from tests.queue_in_memory import QueueInMemory

Make = Callable[..., OneBatch]
MAIL = "mail"


@pytest.fixture
def make(database: Database, queue: QueueInMemory, clock: ManualClock) -> Make:
    """Makes a run of one batch: of its handler, and of options of x-task."""

    def make(handle: Callable[[Batch], Any], **options: Any) -> OneBatch:
        return OneBatch(database, queue, clock, handle, **options)

    return make


class Effect:
    """Something that happens; `raises` are raised behind it, one a call."""

    def __init__(self, *raises: BaseException | None) -> None:
        self.raises = list(raises)
        self.keys: list[str] = []

    def __call__(self, key: str) -> dict[str, int]:
        self.keys.append(key)
        error = self.raises.pop(0) if self.raises else None
        if error is not None:
            raise error
        return {"number": len(self.keys)}


def test_an_effect_that_was_done_gives_its_result_again_and_is_not_called(make: Make) -> None:
    effect = Effect()
    results: list[Any] = []

    def handle(batch: Batch) -> None:
        results.append(batch.once(MAIL, effect))
        if len(results) == 1:
            raise ValueError("behind it")

    batch = make(handle)
    with pytest.raises(ValueError, match="behind it"):
        batch.deliver()
    batch.deliver()
    assert results == [{"number": 1}, {"number": 1}]
    assert len(effect.keys) == 1
    (known,) = batch.effects()
    assert (known.key, known.state, known.result) == (MAIL, EffectState.DONE, '{"number":1}')
    assert batch.shown()["state"] == "completed"


def test_a_task_that_is_delivered_twice_has_its_effects_once(make: Make) -> None:
    effect = Effect()
    batch = make(lambda batch: batch.for_each(lambda item: item.once(MAIL, effect)))
    (push,) = batch.queue.tasks.values()
    for _ in range(2):
        batch.instance.deliver(push, batch.items)
    assert len(effect.keys) == 3
    assert len(set(effect.keys)) == 3, "each item's effect is its own"


def test_a_result_is_the_same_from_the_first_attempt_on(make: Make) -> None:
    results: list[Any] = []

    def handle(batch: Batch) -> None:
        results.append(batch.once(MAIL, lambda key: (1, datetime(2027, 1, 15, tzinfo=UTC))))
        if len(results) == 1:
            raise ValueError

    batch = make(handle)
    with pytest.raises(ValueError):
        batch.deliver()
    batch.deliver()
    assert results == [[1, "2027-01-15T00:00:00+00:00"]] * 2


def test_an_effect_is_on_record_before_it_is_called(make: Make) -> None:
    def look(key: str) -> None:
        (known,) = batch.effects()
        assert (known.state, known.begun_at) == (EffectState.BEGUN, int(batch.clock.now() * 1000))
        batch.clock.advance(2)

    batch = make(lambda batch: batch.once(MAIL, look))
    batch.deliver()
    (known,) = batch.effects()
    assert known.done_at == known.begun_at + 2_000


@pytest.mark.parametrize("death", [Killed(), ValueError("no answer")])
def test_an_effect_that_nobody_knows_the_end_of_waits_for_a_person(make: Make, death: BaseException) -> None:
    effect = Effect(death)
    batch = make(lambda batch: batch.once(MAIL, effect))
    if isinstance(death, Killed):
        with pytest.raises(Killed):
            batch.deliver()
        batch.clock.advance(26)
    batch.deliver()
    row = batch.row()
    assert row.state is BatchState.UNDECIDED
    assert "Effect 'mail'" in row.error
    (known,) = batch.effects()
    assert known.in_doubt
    assert known.error == ("" if isinstance(death, Killed) else "ValueError: no answer")
    batch.clock.advance(3_600)
    batch.instance.sweeps.sweep()
    assert batch.queue.tasks == {}
    assert len(effect.keys) == 1
    assert batch.shown()["state"] == "running"


@pytest.mark.parametrize("death", [Killed(), ValueError("no answer")])
def test_a_repeatable_effect_is_called_again_with_the_same_key(make: Make, death: BaseException) -> None:
    effect = Effect(death)
    batch = make(lambda batch: batch.once(MAIL, effect, repeatable=True))
    with pytest.raises(type(death)):
        batch.deliver()
    assert batch.effects()[0].state is EffectState.BEGUN
    batch.clock.advance(26)
    batch.deliver()
    assert effect.keys == [name_effect(batch.run_id, batch.row().id, MAIL)] * 2
    assert batch.row().state is BatchState.DONE
    assert batch.effects()[0].state is EffectState.DONE


def test_an_effect_that_says_it_did_not_happen_is_tried_again(make: Make) -> None:
    effect = Effect(EffectNotDone("connection refused"))
    batch = make(lambda batch: batch.once(MAIL, effect))
    with pytest.raises(EffectNotDone):
        batch.deliver()
    assert batch.effects() == []
    assert batch.row().state is BatchState.PUSHED
    batch.deliver()
    assert len(effect.keys) == 2
    assert batch.shown()["state"] == "completed"


def test_a_result_that_is_no_json_leaves_its_effect_in_doubt(make: Make) -> None:
    batch = make(lambda batch: batch.once(MAIL, lambda key: object()))
    batch.deliver()
    assert batch.row().state is BatchState.UNDECIDED
    assert "not JSON serializable" in batch.effects()[0].error


def test_an_attempt_that_was_fenced_off_begins_no_effect_and_ends_none(make: Make) -> None:
    effect = Effect()

    def lose(batch_: Batch) -> None:
        batch.clock.advance(26)
        batch.instance.sweeps.reap()

    def handle(batch_: Batch) -> None:
        lose(batch_)
        batch_.once(MAIL, effect)

    batch = make(handle)
    with pytest.raises(LostLease):
        batch.deliver()
    assert (effect.keys, batch.effects()) == ([], [])

    batch.handle = lambda batch_: batch_.once(MAIL, lambda key: lose(batch_))
    (*_, push) = batch.queue.tasks.values()
    with pytest.raises(LostLease):
        batch.instance.deliver(push, batch.items)
    assert batch.effects()[0].in_doubt


def test_three_steps_of_which_the_third_fails_do_the_first_two_once(make: Make) -> None:
    steps = {name: Effect() for name in ("reserve", "charge", "send")}
    steps["send"].raises = [EffectNotDone("down"), EffectNotDone("down")]

    def handle(batch: Batch) -> None:
        for name, effect in steps.items():
            batch.once(name, effect)

    batch = make(handle)
    for _ in range(2):
        with pytest.raises(EffectNotDone):
            batch.deliver()
    batch.deliver()
    assert {name: len(effect.keys) for name, effect in steps.items()} == {"reserve": 1, "charge": 1, "send": 3}
    assert batch.shown()["state"] == "completed"


def test_an_item_in_doubt_holds_up_no_other(make: Make, database: Database) -> None:
    effect = Effect(ValueError("no answer"))

    def work(item: Item) -> None:
        item.once(MAIL, effect)
        with item.transaction() as connection:
            write(connection, item.value)

    batch = make(lambda batch: batch.for_each(work))
    batch.deliver()
    assert (batch.row().state, batch.row().outcomes) == (BatchState.UNDECIDED, "rdd")
    assert written(database) == [2, 3]
    (trouble,) = batch.troubled()
    assert (trouble.position, trouble.state) == (0, ItemState.RETRIED)
    assert [effect.in_doubt for effect in batch.effects()] == [True, False, False]


@pytest.mark.parametrize(("done", "state"), [(True, EffectState.DONE), (False, None)])
def test_what_is_in_doubt_is_settled_as_done_or_forgotten(make: Make, done: bool, state: EffectState | None) -> None:
    def handle(batch: Batch) -> None:
        batch.once("first", Effect())
        batch.once("second", Effect(Killed()), repeatable=True)

    batch = make(handle)
    with pytest.raises(Killed):
        batch.deliver()
    batch.clock.advance(26)
    batch.handle = lambda batch: batch.once("third", Effect(ValueError()))
    batch.deliver()
    with batch.database.write() as connection:
        settled = effect_rows.settle_effects(connection, batch.row().id, done=done, now=7)
    assert settled == 1
    states = {effect.key: effect.state for effect in batch.effects()}
    assert states.pop("third", None) is state
    assert states == {"first": EffectState.DONE, "second": EffectState.BEGUN}


# Tasks that are not idempotent.


@pytest.mark.parametrize("ends", ["reaper", "next delivery"])
def test_a_task_that_is_not_idempotent_and_died_waits_for_a_person(make: Make, ends: str) -> None:
    calls: list[int] = []

    def die(batch: Batch) -> None:
        calls.append(batch.attempt)
        raise Killed

    batch = make(die, idempotent=False)
    with pytest.raises(Killed):
        batch.deliver()
    batch.clock.advance(26)
    if ends == "reaper":
        assert batch.instance.sweeps.reap() == {"reaped": 1}
    batch.deliver()
    assert batch.row().state is BatchState.UNDECIDED
    assert [attempt.outcome for attempt in batch.attempts()] == [Outcome.LOST]
    assert calls == [1]
    assert batch.queue.tasks == {}


# A vendor that takes idempotency keys.


class MailSink:
    """An HTTP vendor that keeps one mail a key; it answers 500 to the first request of each, having kept the mail."""

    def __init__(self) -> None:
        self.mails: dict[str, bytes] = {}
        self.requests: list[str] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                key = self.headers["Idempotency-Key"]
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_new = sink.mails.setdefault(key, body) is body
                sink.requests.append(key)
                self.send_response(500 if is_new else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/mails"

    def send(self, key: str, text: str) -> int:
        request = urllib.request.Request(self.url, text.encode(), {"Idempotency-Key": key}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            raise OSError(error.code) from error


@pytest.fixture
def sink() -> Iterator[MailSink]:
    sink = MailSink()
    thread = threading.Thread(target=sink.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield sink
    sink.server.shutdown()
    thread.join()
    sink.server.server_close()


def test_a_vendor_sees_the_same_key_on_a_retry_and_keeps_one_mail(make: Make, sink: MailSink) -> None:
    batch = make(lambda batch: batch.once(MAIL, lambda key: sink.send(key, "Welcome"), repeatable=True))
    with pytest.raises(OSError, match="500"):
        batch.deliver()
    batch.deliver()
    assert batch.shown()["state"] == "completed"
    assert len(sink.requests) == 2
    assert sink.mails == {name_effect(batch.run_id, batch.row().id, MAIL): b"Welcome"}
