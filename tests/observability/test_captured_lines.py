"""Lines that a handler logs are kept beside their attempt."""

import logging
from collections.abc import Callable, Iterator

import orjson
import pytest
import structlog
from sqlalchemy import event, select

from headrace.clock import ManualClock
from headrace.database import Database, log_rows
from headrace.database.log_rows import AttemptLog
from headrace.database.tables import batches, logs
from headrace.execution.batch import Batch
from headrace.observability.capture import MAX_CHARACTERS, MAX_LINES, Line, Lines
from headrace.observability.logs import configure_logs
from tests.instance import Instance, Numbers
from tests.queue_in_memory import QueueInMemory

_log = structlog.get_logger("handlers")


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configure_logs(development=False)
    root.setLevel(logging.INFO)
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def deliver(instance: Instance, queue: QueueInMemory, application: Numbers) -> Callable[[], None]:
    """Start a run of one batch; what is returned delivers it, once more each time."""
    application.count = 3
    instance.start()
    (push,) = queue.tasks.values()

    def deliver() -> None:
        instance.deliver(push, orjson.loads(push.body))

    return deliver


def kept(database: Database) -> list[AttemptLog]:
    with database.read() as connection:
        return log_rows.logs_of(connection, connection.execute(select(batches.c.id)).scalar_one())


def test_lines_of_structlog_and_of_logging_are_kept_with_their_levels(
    database: Database, application: Numbers, deliver: Callable[[], None]
) -> None:
    def work(batch: Batch) -> None:
        _log.info("reading users", count=3)
        logging.getLogger("governance").warning("user %d has no mail", 7)

    application.on_work = work
    deliver()

    (log,) = kept(database)
    assert [(level, text) for _, level, text in log.lines] == [
        ("info", "reading users count=3"),
        ("warning", "user 7 has no mail"),
    ]
    assert all(at.endswith("Z") for at, _, _ in log.lines)
    assert (log.attempt, log.current, log.left_out) == (1, True, 0)


def test_after_a_retry_the_first_lines_are_those_of_a_previous_attempt(
    database: Database, clock: ManualClock, application: Numbers, deliver: Callable[[], None]
) -> None:
    def work(batch: Batch) -> None:
        _log.info(f"attempt {batch.attempt}")
        if batch.attempt == 1:
            raise RuntimeError("not yet")

    application.on_work = work
    with pytest.raises(RuntimeError):
        deliver()
    clock.advance(5)
    deliver()

    assert [(log.attempt, log.current, log.lines[0][2]) for log in kept(database)] == [
        (2, True, "attempt 2"),
        (1, False, "attempt 1"),
    ]


def test_an_attempt_that_logs_nothing_writes_nothing(database: Database, deliver: Callable[[], None]) -> None:
    deliver()

    assert kept(database) == []


def test_many_lines_are_one_insert_and_the_last_of_them(
    database: Database, application: Numbers, deliver: Callable[[], None]
) -> None:
    def work(batch: Batch) -> None:
        for number in range(MAX_LINES + 50):
            _log.info(f"line {number}")

    inserts = []

    def count(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if logs.name in statement:
            inserts.append(statement)

    application.on_work = work
    engine = database._writing if database.is_sqlite else database.engine
    event.listen(engine, "before_cursor_execute", count)
    deliver()

    (log,) = kept(database)
    assert len([each for each in inserts if each.startswith("INSERT")]) == 1
    assert (len(log.lines), log.left_out) == (MAX_LINES, 50)
    assert log.lines[-1][2] == f"line {MAX_LINES + 49}"


def test_lines_are_bounded_in_size_alone_and_together() -> None:
    lines = Lines()
    for _ in range(20):
        lines.add(Line("", "info", "x" * MAX_CHARACTERS))

    taken, left_out = lines.take()
    assert sum(len(line.text) for line in taken) <= MAX_CHARACTERS
    assert (len(taken), left_out) == (8, 12)
    assert lines.take() == ([], 0)


def test_a_traceback_that_is_logged_is_kept(
    database: Database, application: Numbers, deliver: Callable[[], None]
) -> None:
    def work(batch: Batch) -> None:
        for tell, text in ((_log.exception, "odd \x00 \ud800"), (logging.getLogger("handlers").exception, "odd \x00")):
            try:
                raise ValueError(text)
            except ValueError:
                tell("went on without it")

    application.on_work = work
    deliver()

    (log,) = kept(database)
    assert len(log.lines) == 2
    for _, level, text in log.lines:
        assert level == "error"
        assert text.startswith("went on without it\nTraceback")
        assert "ValueError: odd" in text


def test_lines_of_an_attempt_past_its_limit_are_kept_while_its_handler_goes_on(
    database: Database, instance: Instance, clock: ManualClock, application: Numbers, deliver: Callable[[], None]
) -> None:
    seen = []

    def work(batch: Batch) -> None:
        _log.info("waiting for the vendor")
        clock.advance(20)
        instance.executor.time_out(instance.executor.held()[0])
        seen.extend(kept(database))

    application.on_work = work
    with pytest.raises(Exception, match="another attempt's"):
        deliver()

    assert [log.lines[0][2] for log in seen] == ["waiting for the vendor"]


def test_lines_go_with_their_run_when_it_is_purged(
    database: Database, instance: Instance, clock: ManualClock, application: Numbers, deliver: Callable[[], None]
) -> None:
    application.on_work = lambda batch: _log.info("done")
    deliver()
    clock.advance(instance.policy.retention + 1)
    instance.sweeps.purge()

    with database.read() as connection:
        assert connection.execute(select(logs.c.id)).all() == []


def test_every_line_of_an_attempt_carries_its_ids(
    application: Numbers, deliver: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    application.on_work = lambda batch: _log.info("working")
    capsys.readouterr()
    deliver()

    (line,) = [orjson.loads(each) for each in capsys.readouterr().out.splitlines() if "working" in each]
    labels = line["logging.googleapis.com/labels"]
    assert labels["run_id"] == application.batches[0].run_id
    assert (labels["batch"], labels["attempt"], labels["handler"]) == ("1", "1", "handlers.numbers.work")
    assert labels["task"].endswith("-1")
