"""Load shedding: while the machine has too much to do, handlers begin no batch.

A push is answered 503 before anything of it is read, so no lease is taken and no attempt counts; a queue then
slows down. Cron endpoints and the admin API are always let in.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from headrace.errors import Overloaded

SAMPLE_EVERY = 1.0
"""Seconds between two samples of the load, at least."""
RETRY_AFTER = 10.0
"""Seconds after which a push that was turned away may come again. A queue's own backoff may be longer."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the machine is, in percent: its CPUs since the last sample, and its memory now."""

    cpu: float
    memory: float


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """The load above which handlers begin no batch, in percent; None is no limit."""

    cpu: float | None = None
    memory: float | None = None

    def excess(self, load: Load) -> str:
        """What is above its limit, in words; empty when nothing is."""
        if self.cpu is not None and load.cpu > self.cpu:
            return f"CPU at {load.cpu:.0f} %, limit {self.cpu:g} %"
        if self.memory is not None and load.memory > self.memory:
            return f"memory at {load.memory:.0f} %, limit {self.memory:g} %"
        return ""


class LoadGate:
    """Lets batches in while the load is within its limits. Thread-safe.

    `probe` takes a sample; it is asked at most once in `SAMPLE_EVERY` seconds of `monotonic`, and only when a batch
    comes.
    """

    def __init__(self, limits: LoadLimits, probe: Callable[[], Load], monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._probe = probe
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sample_at = monotonic()
        self._excess = ""

    def admit(self) -> None:
        """Return when a batch may begin.

        Raises Overloaded while the load is above a limit.
        """
        with self._lock:
            now = self._monotonic()
            if now >= self._sample_at:
                self._sample_at = now + SAMPLE_EVERY
                self._judge(self._limits.excess(self._probe()))
            excess = self._excess
        if excess:
            raise Overloaded(f"No batch begins under this load: {excess}.", retry_after=RETRY_AFTER)

    def _judge(self, excess: str) -> None:
        if excess and not self._excess:
            _log.warning("load shedding begins", reason=excess)
        elif self._excess and not excess:
            _log.info("load shedding ends")
        self._excess = excess


class Admission:
    """Lets batches in by limits that may change while the service runs. Thread-safe.

    `limits` gives those in force; `probe` makes what takes samples, at the first use; `tell_rejected` hears of each
    batch that is turned away.
    """

    def __init__(
        self,
        limits: Callable[[], LoadLimits],
        probe: Callable[[], Callable[[], Load]],
        monotonic: Callable[[], float],
        tell_rejected: Callable[[], None],
    ) -> None:
        self._limits = limits
        self._make_probe = probe
        self._monotonic = monotonic
        self._tell_rejected = tell_rejected
        self._lock = threading.Lock()
        self._gate: tuple[LoadLimits, LoadGate] | None = None
        self._sample: Callable[[], Load] | None = None
        self._load = Load(0.0, 0.0)
        self._sampled_at = 0.0

    def admit(self) -> None:
        """Return when a batch may begin.

        Raises Overloaded while the load is above a limit.
        """
        limits = self._limits()
        if limits == _NO_LIMITS:
            return
        try:
            self._gate_of(limits).admit()
        except Overloaded:
            self._tell_rejected()
            raise

    def excess(self) -> str:
        """What of the load is above its limit now, in words; empty when nothing is."""
        limits = self._limits()
        return "" if limits == _NO_LIMITS else limits.excess(self.load())

    def load(self) -> Load:
        """The load, sampled at most once in `SAMPLE_EVERY` seconds. Its CPU is 0 in the first sample."""
        with self._lock:
            now = self._monotonic()
            if self._sample is None:
                self._sample, self._sampled_at = self._make_probe(), now
                # No time has passed since the probe was made that CPUs could have been busy in.
                self._load = replace(self._sample(), cpu=0.0)
            elif now >= self._sampled_at + SAMPLE_EVERY:
                self._load, self._sampled_at = self._sample(), now
            return self._load

    def _gate_of(self, limits: LoadLimits) -> LoadGate:
        with self._lock:
            if self._gate is None or self._gate[0] != limits:
                self._gate = limits, LoadGate(limits, self.load, self._monotonic)
            return self._gate[1]


_NO_LIMITS = LoadLimits()


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds that all CPUs of a machine have been idle, and seconds in all, since it started."""

    idle: float
    total: float

    @classmethod
    def of(cls, times: Mapping[str, float]) -> "CpuTime":
        """From the fields of psutil's `cpu_times`, which differ from system to system."""
        # Linux counts the time of guests in user and nice as well.
        guests = times.get("guest", 0.0) + times.get("guest_nice", 0.0)
        return cls(times["idle"] + times.get("iowait", 0.0), sum(times.values()) - guests)

    def busy_since(self, before: "CpuTime") -> float:
        """The percentage of time that the CPUs were busy between two readings; 0 when no time has passed."""
        passed = self.total - before.total
        return 0.0 if passed <= 0 else min(100.0, max(0.0, 100.0 * (1 - (self.idle - before.idle) / passed)))


class Machine:
    """The probe of the machine that this process runs on.

    CPU is that of the whole machine. Memory is that of the process's control group where cgroup v2 sets it a limit,
    as in a container, else the machine's. `cgroups` is where v2 is mounted, `membership` names the process's group.
    """

    def __init__(self, *, cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> None:
        # Imported here: a service without limits does not wait for it.
        import psutil

        self._psutil = psutil
        self._group = _own_group(cgroups, membership)
        self._cpu = self._read_cpu()

    def __call__(self) -> Load:
        """The load now; its CPU is that since the last call, or since the start."""
        before, self._cpu = self._cpu, self._read_cpu()
        memory = group_memory(self._group)
        return Load(
            cpu=self._cpu.busy_since(before),
            memory=self._psutil.virtual_memory().percent if memory is None else memory,
        )

    def _read_cpu(self) -> CpuTime:
        # psutil's own cpu_percent compares with the last call of the same thread; here threads take turns.
        return CpuTime.of(self._psutil.cpu_times()._asdict())


def group_memory(group: Path) -> float | None:
    """What a control group uses of its memory limit, in percent; None where it has none.

    Files that were read and can be dropped at once do not count: `inactive_file`, as Kubernetes counts it too.
    """
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return None
    if limit == "max":
        return None
    droppable = dict(line.split() for line in lines).get("inactive_file", "0")
    return 100.0 * (used - int(droppable)) / int(limit)


def _own_group(cgroups: Path, membership: Path) -> Path:
    """The folder of this process's group; in a container that is the mount itself."""
    try:
        groups = dict(line.split("::", 1) for line in membership.read_text().splitlines() if "::" in line)
    except OSError:
        return cgroups
    return cgroups / groups.get("0", "/").lstrip("/")
