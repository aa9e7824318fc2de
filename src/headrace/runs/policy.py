"""The times and bounds that runs keep to, in one place."""

from dataclasses import dataclass

from headrace.contract.limits import LEASE_MARGIN


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """Seconds, unless said otherwise.

    `claim_above`: a payload of more bytes stays in the database, and its task carries a ticket for it.
    `max_payload`: bytes of the largest payload that is taken at all. `key_ttl`: how long a push's key refuses doubles.
    `cancel_grace`: how long the attempts of a cancelled run may go on. `max_queued`: how many runs may wait for one.
    `missed_after`: how long after its time a firing that its scheduler did not make counts as missed.

    `split_lease`: a splitter that says nothing for so long is dead. `max_splitters`: how many may try a run whose
    database or network fails before the run does. `chunk_batches`, `chunk_time`: a split commits
    after so many batches or so much reading. `overdue`: a pushed batch that was not executed for so long is asked
    after. `lease_margin`: by how much an attempt's lease is longer than its time limit. `max_losses`: how often
    in a row a batch may be lost before its vanishing task makes it dead. `retention`: how long ended runs are
    kept; longer than any queue remembers a name or keeps a task.
    """

    split_lease: float = 60.0
    max_splitters: int = 5
    chunk_batches: int = 1_000
    chunk_time: float = 0.5
    overdue: float = 60.0
    lease_margin: float = LEASE_MARGIN
    max_losses: int = 8
    sweep_time: float = 20.0
    claim_above: int = 100_000
    max_payload: int = 10_000_000
    key_ttl: float = 40 * 86_400.0
    cancel_grace: float = 5.0
    max_queued: int = 100
    missed_after: float = 90.0
    retention: float = 40 * 86_400.0
