"""The items of a batch, one after the other: each has its own outcome, and what fails holds up no other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection

from headrace.database import item_rows, savepoints
from headrace.database.item_rows import ItemRow
from headrace.database.states import ItemState
from headrace.errors import Cancel, ItemsFailed, LostLease, PermanentFailure, Retry, Snooze
from headrace.execution.control import ContinueLater, InDoubt
from headrace.execution.effects import do_once
from headrace.execution.hold import Hold
from headrace.execution.verdicts import ERROR_KEPT, text_of

T = TypeVar("T")
_CHUNK_ITEMS = 100
_CHUNK_SECONDS = 0.2
_SPARE_SHARE = 0.05
_SPARE_ITEMS = 2
# Said of the batch, not of one item.
_OF_THE_BATCH = (LostLease, Cancel, Snooze)


def left_of(outcomes: str) -> list[int]:
    """The positions of items that are left, those that no attempt has tried before the others."""
    untried = [position for position, letter in enumerate(outcomes) if letter == ItemState.LEFT]
    return untried + [position for position, letter in enumerate(outcomes) if letter == ItemState.RETRIED]


def mark(outcomes: str, position: int, state: ItemState) -> str:
    """The outcomes with one item's changed."""
    return f"{outcomes[:position]}{state.value}{outcomes[position + 1 :]}"


def time_is_short(remaining: float, *, limit: float, slowest: float) -> bool:
    """Whether the rest of a time limit is too short to begin another item. All in seconds."""
    return remaining < max(_SPARE_SHARE * limit, _SPARE_ITEMS * slowest)


def has_progressed(before: str, after: str) -> bool:
    """Whether an attempt has brought the batch nearer to its end: this cannot go on for ever."""
    return _distance(after) < _distance(before)


def _distance(outcomes: str) -> int:
    return 2 * outcomes.count(ItemState.LEFT) + outcomes.count(ItemState.RETRIED)


class Item:
    """One item of a batch, at work.

    `value` is as in `batch.items`, `position` counts from 0 in the batch; `now` is when its work began, in epoch
    seconds.
    """

    __slots__ = ("_round", "_warnings", "now", "position", "value")

    def __init__(self, round: "Round", position: int, value: Any, now: float) -> None:
        self.value = value
        self.position = position
        self.now = now
        self._round = round
        self._warnings: list[str] = []

    @property
    def is_done(self) -> bool:
        """Whether its transaction has committed."""
        return self._round.has_done(self.position)

    @property
    def warning(self) -> str:
        """What `warn` was told, a line each."""
        return "\n".join(self._warnings)

    def remaining(self) -> float:
        """Seconds left of the batch's time limit; below 0 when it has passed."""
        return self._round.hold.remaining()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """The item's one transaction: the item is done when, and only when, it commits.

        Keep it short and do no other I/O inside; what the item has to do besides is done before.

        Raises:
            LostLease: another attempt owns the batch now; nothing of this transaction is kept.
            Cancel: the run was cancelled.
            RuntimeError: the item is done.
        """
        self._refuse_if_done()
        with self._round.finish(self.position) as connection:
            yield connection

    def once(self, key: str, effect: Callable[[str], T], *, repeatable: bool = False) -> T:
        """As `Batch.once`, with a key of this item's own; before its transaction, which ends it."""
        self._refuse_if_done()
        return do_once(self._round.hold, f"{self.position}/{key}", effect, repeatable=repeatable)

    def warn(self, text: str) -> None:
        """Be done, but with a warning that people see."""
        self._warnings.append(text)

    def _refuse_if_done(self) -> None:
        if self.is_done:
            raise RuntimeError("The item is done: its transaction comes last, and there is one.")


class Round:
    """One attempt's way through the items that are left of its batch.

    `values` are the items as the payload has them, `time_limit` is in seconds, `permanent` are the errors that no
    retry mends.
    """

    def __init__(
        self,
        hold: Hold,
        items: Sequence[Any],
        values: Sequence[Any],
        *,
        time_limit: float,
        permanent: tuple[type[Exception], ...],
    ) -> None:
        self.hold = hold
        self._items = items
        self._values = values
        self._permanent: tuple[type[Exception], ...] = (PermanentFailure, *permanent)
        self._before = self._outcomes
        self._limit = time_limit
        self._errors: list[Exception] = []
        self._doubt: InDoubt | None = None
        # Why the round ends before its time.
        self._stop: BaseException | None = None
        if hold.outcomes is not None:
            with hold.database.read() as connection:
                warned = item_rows.warnings_of(connection, hold.lease.batch_id)
            known = [_warning(position, text) for position, text in warned]
            hold.warnings += [text for text in known if text not in hold.warnings]

    def for_each(self, work: Callable[[Item], object]) -> None:
        """See `Batch.for_each`."""
        for position in self._turns():
            self.hold.stop_if_cancelled()
            item = Item(self, position, self._items[position], self.hold.clock.now())
            try:
                work(item)
            except InDoubt as doubt:
                self._doubt = self._doubt or doubt
                self._note(position, ItemState.RETRIED, str(doubt))
            except _OF_THE_BATCH:
                raise
            except Exception as error:
                if item.is_done:
                    raise
                self._note(position, self._judge(error), text_of(error))
            else:
                if not item.is_done or item.warning:
                    self._note(position, ItemState.DONE, item.warning)
        self._end()

    def write_each(self, work: Callable[[Connection, Any], object]) -> None:
        """See `Batch.write_each`."""
        turns = self._turns()
        for first in turns:
            with self.hold.transaction() as connection:
                outcomes = self._write_chunk(connection, chain([first], turns), work)
                if left_of(outcomes):
                    self.hold.note(connection, outcomes)
                else:
                    self.hold.complete(connection, outcomes)
        self._end()

    @contextmanager
    def finish(self, position: int) -> Iterator[Connection]:
        """A transaction with which an item is done."""
        with self.hold.transaction(mark(self._outcomes, position, ItemState.DONE)) as connection:
            self._record(connection, position, ItemState.DONE, "")
            yield connection

    def has_done(self, position: int) -> bool:
        """Whether an item is done."""
        return self._outcomes[position] == ItemState.DONE

    @property
    def _outcomes(self) -> str:
        return self.hold.outcomes or ItemState.LEFT * len(self._items)

    def _turns(self) -> Iterator[int]:
        """The items that are left, one after the other, at least one; no more once time is short."""
        slowest = 0.0
        for index, position in enumerate(left_of(self._outcomes)):
            if self._stop is not None:
                return
            if index and time_is_short(self.hold.remaining(), limit=self._limit, slowest=slowest):
                self._stop = ContinueLater()
                return
            begun = self.hold.clock.now()
            yield position
            slowest = max(slowest, self.hold.clock.now() - begun)

    def _write_chunk(
        self, connection: Connection, turns: Iterable[int], work: Callable[[Connection, Any], object]
    ) -> str:
        """Work on some items in one transaction; the outcomes then."""
        outcomes = self._outcomes
        until = self.hold.clock.now() + _CHUNK_SECONDS
        for position in islice(turns, _CHUNK_ITEMS):
            error = _write_one(connection, self._items[position], work)
            if isinstance(error, _OF_THE_BATCH):
                self._stop = error
                break
            state = ItemState.DONE if error is None else self._judge(error)
            self._record(connection, position, state, "" if error is None else text_of(error))
            outcomes = mark(outcomes, position, state)
            if self.hold.clock.now() >= until:
                break
        return outcomes

    def _judge(self, error: Exception) -> ItemState:
        """How an item stands whose work raised."""
        if isinstance(error, self._permanent):
            return ItemState.FAILED
        self._errors.append(error)
        return ItemState.RETRIED

    def _note(self, position: int, state: ItemState, text: str) -> None:
        if state is ItemState.DONE and text:
            self.hold.warnings.append(_warning(position, text))
        self.hold.write(
            lambda connection: self._record(connection, position, state, text),
            outcomes=mark(self._outcomes, position, state),
        )

    def _record(self, connection: Connection, position: int, state: ItemState, text: str) -> None:
        """Keep a row of an item in trouble, and none of one that went well."""
        lease = self.hold.lease
        if state is ItemState.DONE and not text:
            if self._outcomes[position] == ItemState.RETRIED:
                item_rows.forget_item(connection, lease.batch_id, position)
            return
        row = ItemRow(
            lease.batch_id,
            position,
            lease.run_id,
            orjson.dumps(self._values[position]).decode(),
            state,
            text[:ERROR_KEPT],
            lease.attempt,
            self.hold.now_ms(),
        )
        item_rows.put_item(connection, row)

    def _end(self) -> None:
        """Say what becomes of the attempt where items are left."""
        out_of_time = isinstance(self._stop, ContinueLater)
        if self._stop is not None and (not out_of_time or has_progressed(self._before, self._outcomes)):
            raise self._stop
        if self._doubt is not None:
            raise self._doubt
        if self._errors:
            raise self._failure()

    def _failure(self) -> ItemsFailed:
        first = self._errors[0]
        waits = [error.after for error in self._errors if isinstance(error, Retry) and error.after is not None]
        failure = ItemsFailed(
            f"{len(self._errors)} of {len(self._items)} items failed; first: {text_of(first)}",
            after=max(waits, default=None),
        )
        failure.__cause__ = first
        return failure


def _write_one(connection: Connection, value: Any, work: Callable[[Connection, Any], object]) -> Exception | None:
    """Work on an item; what it raised, and has taken back. An error of the savepoint itself ends the transaction."""
    savepoints.set_savepoint(connection)
    try:
        work(connection, value)
    except Exception as error:  # noqa: BLE001 - a boundary: the author's own code may raise anything
        savepoints.take_back_savepoint(connection)
        return error
    savepoints.keep_savepoint(connection)
    return None


def _warning(position: int, text: str) -> str:
    return f"Item {position}: {text}"
