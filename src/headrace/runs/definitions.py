"""The settings that an operator may change while the service runs: what each takes, does, where it is read. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.config.settings import Settings
from headrace.contract.operations import Contract, Kind
from headrace.errors import BadRequest

TASK_INLINE_MAX_CONCURRENT = "task_inline_max_concurrent"
BATCH_SIZE = "batch_size."
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Definition:
    """A setting. `whole`: it takes whole numbers alone, else any from `lowest` to `highest`.

    `variable` is the environment variable below it, `home` what gives its default; `does` says what it is for, `read`
    where and when it takes effect.
    """

    key: str
    lowest: float
    highest: float
    default: float
    does: str
    read: str
    whole: bool = True
    variable: str | None = None
    home: str = "default"

    def parse(self, value: str) -> float:
        """A value from text.

        Raises BadRequest, which says what is allowed.
        """
        number = float(value) if _NUMBER.fullmatch(value) else -1.0
        if not self.lowest <= number <= self.highest or (self.whole and "." in value):
            kind = "whole number" if self.whole else "number"
            raise BadRequest(
                f"{self.key} takes a {kind} from {self.lowest:,g} to {_shown(self.highest)}.", pointer="/value"
            )
        return int(number) if self.whole else number


def _shown(number: float) -> str:
    return f"{number:,.0f}"


_LIVE = "within 2 seconds, in every process"
SERVICE = (
    Definition(
        TASK_INLINE_MAX_CONCURRENT,
        0,
        10_000,
        0,
        "Attempts that the service executes at once, all processes together; 0 is no cap.",
        f"when an attempt begins; {_LIVE}",
        variable="HEADRACE_TASK_INLINE_MAX_CONCURRENT",
    ),
    Definition(
        "shed_cpu",
        0,
        100,
        0,
        "Percent of the machine's CPU above which handlers begin no batch; 0 is no limit.",
        f"when a push comes; {_LIVE}",
        whole=False,
        variable="HEADRACE_SHED_CPU",
    ),
    Definition(
        "shed_memory",
        0,
        100,
        0,
        "Percent of the container's or the machine's memory above which handlers begin no batch; 0 is no limit.",
        f"when a push comes; {_LIVE}",
        whole=False,
        variable="HEADRACE_SHED_MEMORY",
    ),
    Definition(
        "alert_waiting",
        10,
        604_800,
        600,
        "Seconds that work may wait while no attempt of its handler begins or ends, before an alert.",
        "by the next sweep of alerts",
        whole=False,
        variable="HEADRACE_ALERT_WAITING",
    ),
    Definition(
        "alert_failure_share",
        1,
        100,
        50,
        "Percent of a handler's attempts in 15 minutes that fail, at least 5, before an alert.",
        "by the next sweep of alerts",
        whole=False,
        variable="HEADRACE_ALERT_FAILURE_SHARE",
    ),
    Definition(
        "alert_repeat",
        0,
        604_800,
        3_600,
        "Seconds within which an alert that fires again is not notified again.",
        "by the next sweep of alerts",
        whole=False,
        variable="HEADRACE_ALERT_REPEAT",
    ),
)


def definitions_of(contract: Contract) -> dict[str, Definition]:
    """All settings by key: those of the service, and `batch_size.<operationId>` of each handler."""
    sizes = [
        Definition(
            BATCH_SIZE + each.operation_id,
            1,
            10_000,
            each.task.batch_size,
            "Items of a batch of this handler.",
            "by the next split",
            home="openapi.yaml",
        )
        for each in contract.operations
        if each.kind is Kind.HANDLER and each.task is not None
    ]
    return {each.key: each for each in (*SERVICE, *sizes)}


def environment_of(settings: Settings) -> Mapping[str, float]:
    """The values that environment variables set, by key."""
    values: dict[str, float] = {
        TASK_INLINE_MAX_CONCURRENT: settings.task_inline_max_concurrent,
        "shed_cpu": settings.shed_cpu or 0.0,
        "shed_memory": settings.shed_memory or 0.0,
        "alert_waiting": settings.alert_waiting,
        "alert_failure_share": settings.alert_failure_share,
        "alert_repeat": settings.alert_repeat,
    }
    return {each.key: values[each.key] for each in SERVICE if each.variable in settings.given}
