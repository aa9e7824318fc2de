"""The service is killed at every point of a job that writes rows and sends mails: each is there once."""

from tests.faults.site import SEND_LETTERS, Site

BOUNDARIES = ("commit", "push", "request", "answer")


def test_a_kill_at_any_point_leaves_each_row_and_each_mail_once(site: Site) -> None:
    point: str | None = "none yet"
    while point is not None:
        firing = site.start(SEND_LETTERS)
        site.end(SEND_LETTERS, firing)
        point = site.points.struck
        assert not site.faults(SEND_LETTERS, firing), f"Killed {point}"
    sides = {f"{side} the {what}" for what in BOUNDARIES for side in ("before", "after")}
    assert sides <= {" ".join(name.split()[:3]) for name in site.points.killed}
