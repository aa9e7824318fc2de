"""Trace context: from the request of a job, over the queue, to its handlers and what they push."""

import contextvars
from collections.abc import Iterator

import orjson
import pytest
import structlog
from opentelemetry import trace as opentelemetry

from headrace.execution.batch import Batch
from headrace.observability import traces
from tests.contract.application import Running
from tests.instance import Instance, Numbers
from tests.queue_in_memory import QueueInMemory

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    yield
    traces._current.set(None)
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "nonsense",
        GIVEN.upper(),
        GIVEN.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        GIVEN + "-more",
        GIVEN + "\n",
    ],
)
def test_a_request_without_a_trace_context_gets_one(given: str | None) -> None:
    made = traces.begin(given)

    assert made != given
    assert traces.begin(made) == made == traces.current()


def test_a_jobs_pushes_carry_the_context_of_its_request(
    instance: Instance, queue: QueueInMemory, application: Numbers
) -> None:
    application.count = 3
    traces.begin(GIVEN)
    instance.start()

    (push,) = queue.tasks.values()
    assert (traces.HEADER, GIVEN) in push.headers


def test_a_sweep_pushes_with_the_context_of_the_run(
    instance: Instance, queue: QueueInMemory, application: Numbers
) -> None:
    application.count, queue.down = 3, True
    traces.begin(GIVEN)
    instance.start()
    queue.down = False
    traces.begin(None)
    instance.sweeps.relay()

    (push,) = queue.tasks.values()
    assert (traces.HEADER, GIVEN) in push.headers


def test_what_a_handler_pushes_is_of_the_same_trace(
    instance: Instance, queue: QueueInMemory, application: Numbers
) -> None:
    def push_another(batch: Batch) -> None:
        if batch.items != [99]:
            with instance.database.write() as connection:
                instance.pusher.push(connection, application.work, [99])

    application.count, application.on_work = 3, push_another
    traces.begin(GIVEN)
    instance.start()
    (push,) = queue.tasks.values()

    # As another process has it: all it knows is the header.
    context = contextvars.Context()
    context.run(lambda: traces.begin(dict(push.headers)[traces.HEADER]))
    context.run(lambda: instance.deliver(push, orjson.loads(push.body)))

    assert dict(list(queue.tasks.values())[-1].headers)[traces.HEADER] == GIVEN


def test_opentelemetry_has_the_push_for_parent_in_a_handler(
    instance: Instance, queue: QueueInMemory, application: Numbers
) -> None:
    seen = []
    application.count = 3
    application.on_work = lambda batch: seen.append(opentelemetry.get_current_span().get_span_context())
    traces.begin(GIVEN)
    instance.start()
    (push,) = queue.tasks.values()
    instance.deliver(push, orjson.loads(push.body))

    (context,) = seen
    assert f"{context.trace_id:032x}-{context.span_id:016x}" == GIVEN[3:52]
    assert context.is_remote
    assert context.trace_flags.sampled
    assert not opentelemetry.get_current_span().get_span_context().is_valid


def test_a_request_takes_the_context_of_its_header(running: Running) -> None:
    seen = []
    running.app.before_request(lambda: seen.append(traces.current()))

    running.client.get("/healthz", headers={traces.HEADER: GIVEN})

    assert seen == [GIVEN]
