"""What becomes of an alert when its rule holds, or no longer does. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.alerts.rules import Finding
from headrace.database.alert_rows import AlertRow, AlertState


@dataclass(frozen=True, slots=True)
class Change:
    """An alert as it is to stand; `notifies` says whether its state is news."""

    alert: AlertRow
    notifies: bool


def change(
    alerts: Mapping[tuple[str, str], AlertRow], findings: Sequence[Finding], *, now: int, repeat: int
) -> Iterator[Change]:
    """Every alert that changes, by those that are there and the rules that hold.

    A firing is notified once; one that comes within `repeat` milliseconds of the last that was notified, when that
    has passed. The end of a firing is notified when its beginning was.
    """
    for finding in findings:
        known = alerts.get((finding.rule, finding.object))
        alert = _fire(known, finding, now)
        notifies = not alert.told and (alert.told_at is None or now - alert.told_at >= repeat)
        if notifies:
            alert = replace(alert, told=True, told_at=now)
        if alert != known:
            yield Change(alert, notifies)
    holding = {(finding.rule, finding.object) for finding in findings}
    for key, alert in alerts.items():
        if key not in holding and alert.state is AlertState.FIRING:
            yield Change(replace(alert, state=AlertState.RESOLVED, resolved_at=now), alert.told)


def _fire(known: AlertRow | None, finding: Finding, now: int) -> AlertRow:
    if known is not None and known.state is AlertState.FIRING:
        return replace(known, detail=finding.detail)
    return AlertRow(
        id=0 if known is None else known.id,
        rule=finding.rule,
        object=finding.object,
        state=AlertState.FIRING,
        detail=finding.detail,
        fired_at=now,
        resolved_at=None,
        acknowledged_at=None,
        acknowledged_by=None,
        told=False,
        told_at=None if known is None else known.told_at,
    )
