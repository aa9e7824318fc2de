"""The times and bounds that runs keep to, in one place."""

from dataclasses import dataclass

from headrace.contract.limits import LEASE_MARGIN


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """Seconds, unless said otherwise.

    `split_lease`: a splitter that says nothing for so long is dead. `max_splitters`: how many may try a run whose
    database or network fails before the run does. `chunk_batches`, `chunk_time`: a split commits
    after so many batches or so much reading. `overdue`: a pushed batch that was not executed for so long is asked
    after. `lease_margin`: by how much an attempt's lease is longer than its time limit. `max_generations`: pushes
    of one batch, the first included, before a vanishing task makes it dead. `retention`: how long ended runs are
    kept; longer than any queue remembers a name or keeps a task.
    """

    split_lease: float = 60.0
    max_splitters: int = 5
    chunk_batches: int = 1_000
    chunk_time: float = 0.5
    overdue: float = 60.0
    lease_margin: float = LEASE_MARGIN
    max_generations: int = 5
    sweep_time: float = 20.0
    retention: float = 40 * 86_400.0
