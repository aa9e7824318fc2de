"""What the function of a job is given."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sqlalchemy import Connection

Items = Callable[[Connection, Any], Iterable[Any]]
"""`items(connection, after)`: the items in ascending order of their cursor, from the one behind `after` (None: from
the first). Yield them as they are read; a split holds no more than one batch's worth and its chunk."""


class Splits(Protocol):
    """Does the work of `Job.split`."""

    def __call__(self, handler: Callable[..., Any], items: Items, key: Callable[[Any], Any] | None) -> None: ...


class Job:
    """One call of a job's function. The function may be called again for the same run: it goes on from the cursor.

    `run_id` names the run, `now` is the time of this call in epoch seconds, `parameters` what the caller gave.
    """

    __slots__ = ("_split", "now", "parameters", "run_id")

    def __init__(self, run_id: str, now: float, parameters: dict[str, Any], split: Splits) -> None:
        self.run_id = run_id
        self.now = now
        self.parameters = parameters
        self._split = split

    def split(self, handler: Callable[..., Any], items: Items, *, key: Callable[[Any], Any] | None = None) -> None:
        """Cut the items into batches of the handler's batch-size, and push each as a task.

        The cursor of an item is the item itself, or `key(item)`: a JSON value that `items` can start behind.

        Raises:
            PushRefused: an item breaks the handler's schema or is too large, or the queue does not exist. What
                was pushed before is done; the run fails with this reason.
            LostLease: another splitter took the run over.
        """
        self._split(handler, items, key)
