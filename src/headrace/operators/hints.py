"""What to do about work that does not go on as it should: what of it holds now, with its cause and its fix. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

BUSY = 90.0
"""Percent of CPU from which on the machine counts as busy."""
NO_AGENTS = "No agents connected"


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """A pool of agents: how many are connected, and how many tasks run and wait in it."""

    name: str
    live_agents: int
    running: int
    pending: int


@dataclass(frozen=True, slots=True)
class WorkSituation:
    """What executes tasks, and what waits for it.

    `pending` and `running` count tasks. `cap` is that of inline execution, 0 for none. `agents` are connected ones,
    `pools` the pools that exist: with one, the service executes nothing itself. `shedding` says why no batch is begun
    now, "" where one is; `cpu` is the machine's, in percent.
    """

    pending: int = 0
    running: int = 0
    cap: int = 0
    agents: int = 0
    pools: Sequence[PoolLoad] = ()
    shedding: str = ""
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Hint:
    """What is seen, what it comes from, and what helps."""

    symptom: str
    cause: str
    fix: str


def hints_of(situation: WorkSituation) -> list[Hint]:
    """The hints that apply, the most urgent first."""
    found = [*_pending(situation), *_no_agents(situation), *_slow(situation)]
    return found + ([_high_cpu()] if not situation.pools and situation.cpu >= BUSY and situation.running else [])


def _pending(situation: WorkSituation) -> list[Hint]:
    waits = 'Tasks stay in "pending"'
    if situation.pools and not situation.agents:
        stuck = any(pool.pending for pool in situation.pools)
        return [Hint(waits, NO_AGENTS, "Check agent connectivity.")] if stuck else []
    if not situation.pending or situation.pools:
        return []
    if situation.cap and situation.running >= situation.cap:
        cause = f"Concurrency cap reached: {situation.running} of {situation.cap} run"
        return [Hint(waits, cause, "Increase the concurrency cap (task_inline_max_concurrent).")]
    if situation.shedding:
        return [
            Hint(waits, f"Load shedding: {situation.shedding}", "Let the load pass, add instances, or raise the limit.")
        ]
    return []


def _no_agents(situation: WorkSituation) -> list[Hint]:
    return [
        Hint(
            f'"No agents available" in the pool {pool.name}',
            "All pool agents disconnected",
            "Verify that the agents run and that their gRPC port is reachable.",
        )
        for pool in situation.pools
        if pool.pending and not pool.live_agents
    ]


def _slow(situation: WorkSituation) -> list[Hint]:
    if situation.pools or situation.cpu < BUSY or not situation.running:
        return []
    fix = "Switch to agent mode, or set a lower concurrency cap."
    return [Hint("Tasks run slowly", "Inline mode under heavy load: tasks share the CPU with the API server", fix)]


def _high_cpu() -> Hint:
    return Hint(
        "High backend CPU",
        "Inline execution of tasks",
        "Move compute-heavy tasks to agent-based execution, or set a lower concurrency cap.",
    )
