"""The service is killed at every point of the sweeps, whatever they have to mend."""

from tests.faults.site import ADDRESS, SWEEP, Site


def test_a_kill_at_any_point_of_a_sweep_leaves_each_row_once(site: Site) -> None:
    kill_at: str | None = None
    while True:
        firing = site.break_off(ADDRESS, kill_at=kill_at)
        point = site.points.struck
        swept_to = sweep(site)
        site.end(ADDRESS, firing)
        assert not site.faults(ADDRESS, firing), f"Killed {point}, and in the sweep {swept_to}"
        if point is None and kill_at is None:
            break
        # The same again, as long as the sweep behind it has new points.
        kill_at = None if swept_to is None else point
    modules = {name.partition(" in ")[2].partition(":")[0] for name in site.points.killed if f"of {SWEEP} " in name}
    assert modules >= {"runs/relay.py", "runs/starting.py", "sweeps/reaping.py", "sweeps/reconciling.py"}


def sweep(site: Site) -> str | None:
    """Sweep, and kill the service at a new point of that, where there is one; the point."""
    site.points.start()
    site.points.kill_anew(of=SWEEP)
    site.sweep()
    site.wait_until_idle()
    site.points.spare()
    return site.points.struck
