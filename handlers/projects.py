"""Does the work on projects."""

from governance.project_audit import audit
from headrace import Batch


def audit_project_access(batch: Batch) -> None:
    """Open and close the findings of the users in the batch, in one transaction."""
    with batch.transaction(completes=True) as connection:
        audit(connection, batch.items, at=batch.now)
