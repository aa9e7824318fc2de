"""The vendor takes no idempotency keys: no mail is sent twice, and a person decides of each that is in doubt."""

from headrace.operators.decisions import Decision
from tests.faults.site import SEND_ONCE, Site


def test_a_kill_at_any_point_and_a_decision_leave_each_mail_once(site: Site) -> None:
    point: str | None = "none yet"
    decided: set[Decision] = set()
    while point is not None:
        firing = site.break_off(SEND_ONCE)
        point = site.points.struck
        decisions = site.end(SEND_ONCE, firing)
        assert not site.faults(SEND_ONCE, firing), f"Killed {point}, and decided: {decisions}"
        decided |= set(decisions)
    assert decided == {Decision.RESUME, Decision.REDO}
    assert any("/decisions/" in name for name in site.points.killed)
