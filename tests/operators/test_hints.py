"""Hints say what applies now, in the words of the troubleshooting table."""

import pytest

from headrace.operators.hints import PoolLoad, WorkSituation, hints_of
from headrace.operators.workers import same_version


@pytest.mark.parametrize(
    ("situation", "wanted"),
    [
        (WorkSituation(), []),
        (WorkSituation(pending=9, running=1), []),
        (WorkSituation(pending=9, running=1, cap=2), []),
        (WorkSituation(running=2, cap=2), []),
        (WorkSituation(pending=9, running=2, cap=2), [("pending", "Concurrency cap reached", "Increase")]),
        (WorkSituation(pending=9, shedding="CPU at 99 %, limit 90 %"), [("pending", "CPU at 99 %", "raise the limit")]),
        (
            WorkSituation(pending=9, pools=[PoolLoad("p", 0, 0, 9)]),
            [
                ("pending", "No agents connected", "Check agent connectivity"),
                ("No agents available", "All pool agents disconnected", "gRPC port is reachable"),
            ],
        ),
        (
            WorkSituation(pending=9, agents=1, pools=[PoolLoad("p", 1, 0, 9), PoolLoad("q", 0, 0, 1)]),
            [("pool q", "All pool agents disconnected", "gRPC")],
        ),
        (WorkSituation(agents=0, pools=[PoolLoad("p", 0, 0, 0)]), []),
        (
            WorkSituation(running=3, cpu=97.0),
            [("Tasks run slowly", "Inline mode", "lower concurrency cap"), ("High backend CPU", "Inline", "agent")],
        ),
        (WorkSituation(running=0, cpu=97.0), []),
    ],
)
def test_only_the_hints_that_apply_are_given(situation: WorkSituation, wanted: list[tuple[str, str, str]]) -> None:
    found = hints_of(situation)
    assert len(found) == len(wanted)
    for hint, (symptom, cause, fix) in zip(found, wanted, strict=True):
        assert symptom in hint.symptom
        assert cause in hint.cause
        assert fix in hint.fix


@pytest.mark.parametrize(
    ("agent", "service", "same"),
    [("1.2.0", "1.2.9", True), ("1.1.0", "1.2.0", False), ("2.2.0", "1.2.0", False), ("", "1.2.0", False)],
)
def test_an_agent_of_another_version_is_told_by_major_and_minor(agent: str, service: str, same: bool) -> None:
    assert same_version(agent, service) is same
