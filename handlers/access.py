"""Does the work on access tiers."""

from governance.synchronization import synchronize
from headrace import Batch


def synchronize_user_access(batch: Batch) -> None:
    """Recompute the tiers of the users in the batch, in one transaction."""
    with batch.transaction(completes=True) as connection:
        synchronize(connection, batch.items, at=batch.now)
