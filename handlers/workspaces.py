"""Does the work of making workspaces."""

from functools import partial

from governance import storage, workspaces
from headrace import Batch


def make_workspace(batch: Batch) -> None:
    """Make the workspace of one operation: its rows, its storage, and then it can be used.

    An attempt that dies is followed by another, which finds what the first one made.
    """
    (operation,) = batch.items
    try:
        with batch.transaction() as connection:
            workspace_id = workspaces.begin(connection, operation["operation_id"], batch.now)
    except workspaces.UnknownMember as error:
        with batch.transaction() as connection:
            workspaces.fail(connection, operation["operation_id"], str(error))
        raise
    make_bucket = partial(storage.make_bucket, workspaces.bucket_of(workspace_id))
    bucket = batch.once("bucket", make_bucket, repeatable=True)
    with batch.transaction(completes=True) as connection:
        workspaces.finish(connection, operation["operation_id"], bucket)


def give_up(batch: Batch) -> None:
    """Take back what was made of a workspace, and tell its owner, who may know the reason already."""
    (operation,) = batch.items
    with batch.read() as connection:
        workspace_id = workspaces.begun(connection, operation["operation_id"])
    if workspace_id is not None:
        storage.drop_bucket(workspaces.bucket_of(workspace_id))
    with batch.transaction() as connection:
        workspaces.fail(connection, operation["operation_id"], "The workspace cannot be made.")
