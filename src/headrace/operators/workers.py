"""What executes tasks: the service itself, and agents, where some are connected."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Protocol

from headrace.clock import Clock, rfc3339
from headrace.database import Database, backlog_rows
from headrace.database.backlog_rows import GLIMPSED, count_in, count_waiting
from headrace.database.states import BatchState
from headrace.operators.hints import PoolLoad, WorkSituation, hints_of

CAP = "task_inline_max_concurrent"


@dataclass(frozen=True, slots=True)
class Agent:
    """A connected agent; `kind` is login-worker or pool, `connected_at` in epoch milliseconds."""

    id: str
    kind: str
    active: int
    connected_at: int
    version: str


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of agents, and what runs and waits in it."""

    name: str
    labels: tuple[str, ...]
    live_agents: int
    running: int
    pending: int


class Roster(Protocol):
    """Knows the agents and the pools."""

    def agents(self) -> Sequence[Agent]: ...

    def pools(self) -> Sequence[Pool]: ...


class Values(Protocol):
    """The settings in force."""

    def __getitem__(self, key: str) -> float: ...


class NobodyElse:
    """The roster of a service that executes its tasks alone."""

    def agents(self) -> Sequence[Agent]:
        """None."""
        return ()

    def pools(self) -> Sequence[Pool]:
        """None."""
        return ()


_ALONE = NobodyElse()


@dataclass(frozen=True, slots=True)
class MachineLoad:
    """CPU of the machine in percent, and why no batch is begun under its load, "" where one is."""

    cpu: float
    shedding: str


@dataclass(frozen=True, slots=True)
class Workers:
    """Reads who executes tasks. `values` has the settings in force; `load` tells of the machine that answers."""

    database: Database
    clock: Clock
    values: Values
    load: Callable[[], MachineLoad]
    roster: Roster = _ALONE

    def show(self) -> dict[str, Any]:
        """Modes, caps, version, agents and pools, as `GET /api/v1/workers` answers."""
        return {
            "login_worker_mode": "inline",
            "login_worker_max_concurrent": 0,
            "proxy_mode": "",
            "tenant_version": own_version(),
            "task_max_concurrent": 0,
            "task_inline_max_concurrent": int(self.values[CAP]),
            "agents": [
                {
                    "id": agent.id,
                    "type": agent.kind,
                    "active_count": agent.active,
                    "connected_at": rfc3339(agent.connected_at),
                }
                for agent in self.roster.agents()
            ],
            "pools": [
                {
                    "pool": {"name": pool.name, "labels": list(pool.labels)},
                    "live_agents": pool.live_agents,
                    "running_now": pool.running,
                    "pending_now": pool.pending,
                }
                for pool in self.roster.pools()
            ],
        }

    def hints(self, situation: WorkSituation | None = None) -> list[dict[str, str]]:
        """What holds now, or in `situation`, of what may go wrong, each with `symptom`, `cause` and `fix`."""
        return [asdict(hint) for hint in hints_of(situation or self.situation())]

    def situation(self) -> WorkSituation:
        """How much runs and waits, and what executes it."""
        now = int(self.clock.now() * 1000)
        with self.database.read() as connection:
            backlog = backlog_rows.read_backlog(connection, now=now, at_most=GLIMPSED)
            outstanding = backlog_rows.outstanding_by_handler(connection)
        handlers = {*outstanding, *(each.handler for each in backlog)}
        load = self.load()
        return WorkSituation(
            pending=sum(count_waiting(handler, backlog, outstanding) for handler in handlers),
            running=count_in(backlog, BatchState.RUNNING),
            cap=int(self.values[CAP]),
            agents=len(self.roster.agents()),
            pools=[PoolLoad(each.name, each.live_agents, each.running, each.pending) for each in self.roster.pools()],
            shedding=load.shedding,
            cpu=load.cpu,
        )

    def outdated(self) -> list[str]:
        """Ids of the agents whose version is not the service's."""
        return [agent.id for agent in self.roster.agents() if not same_version(agent.version, own_version())]


def own_version() -> str:
    """The version of the service."""
    return version("headrace")


def same_version(agent: str, service: str) -> bool:
    """Whether an agent fits the service: major and minor version are the same. Pure."""
    return agent.split(".")[:2] == service.split(".")[:2]
