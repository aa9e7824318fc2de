"""Does the work of the export to the research data repository, an item a time: what fails holds up no other."""

from typing import Any

from sqlalchemy import Connection

from governance.rdr import Unmappable, export_user, export_workspace
from headrace import Batch, Item
from headrace.errors import PermanentFailure


def export_researchers(batch: Batch) -> None:
    """Send the users of the batch."""

    def export(connection: Connection, item: Any) -> None:
        export_user(connection, item["id"], backfill=item["backfill"], at=batch.now)

    batch.write_each(export)


def export_workspaces(batch: Batch) -> None:
    """Send the workspaces of the batch; one that cannot be mapped is not tried again before it has changed."""

    def export(item: Item) -> None:
        try:
            with item.transaction() as connection:
                export_workspace(connection, item.value["id"], backfill=item.value["backfill"], at=item.now)
        except Unmappable as error:
            raise PermanentFailure(str(error)) from error

    batch.for_each(export)
