"""The endpoint that goes on with a run: its split was too long for one request, or a step has ended."""

from headrace.execution.batch import Batch

CONTINUATION = "headrace.service.continuation.continue_split"


def continue_split(batch: Batch) -> None:
    """Go on with the run that the payload names: {"run_id": …}. The service does it without a record of this task."""
    raise RuntimeError(f"{CONTINUATION} has no batch of its own; it was called with {batch.payload}.")
