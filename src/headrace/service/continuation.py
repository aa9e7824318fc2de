"""The endpoint that goes on with a split which was too long for one request."""

from headrace.execution.batch import Batch
from headrace.service.current import current_service


def continue_split(batch: Batch) -> None:
    """Split on, from the cursor; when time is up again, the split asks for its next continuation itself."""
    current_service().jobs.resume(batch.payload["run_id"])
