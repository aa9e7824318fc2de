"""Starts the export to the research data repository."""

from functools import partial
from operator import itemgetter

from governance.rdr import USER, WORKSPACE, exports_after
from handlers import rdr
from headrace import Job


def export_to_rdr(job: Job, backfill: bool = False) -> None:
    """Researchers, and when all of them are there, workspaces: these name their creators."""
    researchers = partial(exports_after, entity_type=USER, backfill=backfill)
    workspaces = partial(exports_after, entity_type=WORKSPACE, backfill=backfill)
    job.split(rdr.export_researchers, items=researchers, key=itemgetter("id"))
    job.split(rdr.export_workspaces, items=workspaces, key=itemgetter("id"))
