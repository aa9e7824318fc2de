"""Starts the synchronisation of directories."""

from functools import partial
from operator import itemgetter

from governance.directory import GROUP, USER, pages_after
from governance.directory_sync import gone_after
from handlers import directory
from headrace import Job


def synchronize_directory(job: Job, source: str) -> None:
    """Users, then groups, then memberships, a page a task; last of all, what this run has not seen is deleted.

    A page that cannot be done leaves the steps behind it out: nothing is deleted that was merely not read.
    """
    users = partial(pages_after, source=source, kind=USER)
    groups = partial(pages_after, source=source, kind=GROUP)
    job.split(directory.write_users, items=users, key=itemgetter("cookie"))
    job.split(directory.write_groups, items=groups, key=itemgetter("cookie"))
    job.split(directory.write_memberships, items=groups, key=itemgetter("cookie"))
    gone = partial(gone_after, source=source, run_id=job.run_id)
    job.split(directory.delete_gone, items=gone, key=itemgetter("uuid"))
