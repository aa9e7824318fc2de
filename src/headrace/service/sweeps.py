"""The sweeps' endpoints: declare them under /v1/cron/headrace/ and let cron.yaml call them.

Each answers with counts of what it mended.
"""

from headrace.service.current import current_service


def sweep() -> dict[str, int]:
    """All that follow, one after the other."""
    return current_service().sweeps.sweep()


def relay() -> dict[str, int]:
    """Push the batches that were written and not pushed."""
    return current_service().sweeps.relay()


def reap() -> dict[str, int]:
    """End the attempts whose lease is over."""
    return current_service().sweeps.reap()


def reconcile() -> dict[str, int]:
    """Ask the queue about overdue batches; push the vanished ones again, or end them. Keep limits in force."""
    return current_service().sweeps.reconcile()


def resume() -> dict[str, int]:
    """Go on with splits whose splitter died."""
    return current_service().sweeps.resume()


def schedules() -> dict[str, int]:
    """Fire what is due and what a scheduler missed; start the jobs that each release starts once."""
    return current_service().sweeps.schedules()


def purge() -> dict[str, int]:
    """Delete runs that ended longer ago than they are kept."""
    return current_service().sweeps.purge()


def alerts() -> dict[str, int]:
    """Fire alerts, resolve them, and send both."""
    return current_service().sweeps.alerts()
