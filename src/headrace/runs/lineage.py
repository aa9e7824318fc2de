"""Which batch's handler is at work in this thread: what it pushes has that batch for its parent."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_parent: ContextVar[tuple[str, int] | None] = ContextVar("headrace_parent", default=None)


@contextmanager
def within(run_id: str, batch_number: int) -> Iterator[None]:
    """The block is the work of this batch."""
    token = _parent.set((run_id, batch_number))
    try:
        yield
    finally:
        _parent.reset(token)


def parent() -> tuple[str, int] | None:
    """Run and number of the batch whose handler is at work, or None."""
    return _parent.get()
