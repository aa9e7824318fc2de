"""Facts: what a transaction made true, told to the database's observer once it has committed.

The query that makes something true notes it, so what is counted is what stands in the rows: a transaction that is
rolled back takes its facts with it. Without an observer nothing is kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from headrace.database.states import Outcome, RunState

_NOTED = "headrace_facts"


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt of a handler's batch ended. `again`: it was not the batch's first."""

    handler: str
    outcome: Outcome
    seconds: float
    again: bool


@dataclass(frozen=True, slots=True)
class BatchesEnded:
    """So many of a handler's batches ended in each state, with so many items."""

    handler: str
    done: int = 0
    dead: int = 0
    cancelled: int = 0
    items_done: int = 0
    items_failed: int = 0


@dataclass(frozen=True, slots=True)
class Pushed:
    """So many pushes of a handler's tasks had this outcome: pushed, duplicate, refused, unavailable."""

    handler: str
    outcome: str
    count: int


@dataclass(frozen=True, slots=True)
class Fired:
    """A firing of a schedule came for the first time."""

    job: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run ended; one that is skipped ends as it is written. `job` is the handler where it is a single task."""

    job: str
    state: RunState


Fact = AttemptEnded | BatchesEnded | Pushed | Fired | RunEnded


class Observer(Protocol):
    """Is told of facts, in the thread that committed them. Must be quick, and raise nothing."""

    def __call__(self, facts: Iterable[Fact], /) -> None: ...


@dataclass(frozen=True, slots=True)
class Observers:
    """Several observers as one."""

    each: tuple[Observer, ...]

    def __call__(self, facts: Iterable[Fact], /) -> None:
        told = list(facts)
        for observer in self.each:
            observer(told)


def note(connection: Connection, fact: Fact) -> None:
    """Have a fact told when this transaction commits."""
    noted: list[Fact] | None = connection.info.get(_NOTED)
    if noted is not None:
        noted.append(fact)


def collect(connection: Connection) -> list[Fact]:
    """The facts of the transaction that begins now, as they come."""
    noted: list[Fact] = []
    connection.info[_NOTED] = noted
    return noted
