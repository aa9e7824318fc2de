"""Starts the work on access tiers."""

from governance.users import ids_after
from handlers import access
from headrace import Job


def synchronize_user_access(job: Job) -> None:
    """Every user's tiers are recomputed, a batch of users a task."""
    job.split(access.synchronize_user_access, items=ids_after)
