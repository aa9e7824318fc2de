"""What the function of a job is given."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

Items = Callable[[Connection, Any], Iterable[Any]]
"""`items(connection, after)`: the items in ascending order of their cursor, from the one behind `after` (None: from
the first). Yield them as they are read; a split holds no more than one batch's worth and its chunk."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the run, to name in `after` of others. `number` counts from 1, in the order of the calls."""

    number: int


class Splits(Protocol):
    """Does the work of `Job.split`."""

    def __call__(
        self,
        handler: Callable[..., Any],
        items: Items,
        *,
        key: Callable[[Any], Any] | None,
        after: Sequence[Step] | None,
        even_if_failed: bool,
    ) -> Step: ...


class Job:
    """One call of a job's function. The function may be called again for the same run: it goes on where it was.

    `run_id` names the run, `now` is the time of this call in epoch seconds, `parameters` what the caller gave.
    """

    __slots__ = ("_split", "now", "parameters", "run_id")

    def __init__(self, run_id: str, now: float, parameters: dict[str, Any], split: Splits) -> None:
        self.run_id = run_id
        self.now = now
        self.parameters = parameters
        self._split = split

    def split(
        self,
        handler: Callable[..., Any],
        items: Items,
        *,
        key: Callable[[Any], Any] | None = None,
        after: Sequence[Step] | None = None,
        even_if_failed: bool = False,
    ) -> Step:
        """Cut the items into batches of the handler's batch-size, and push each as a task: one step of the run.

        The cursor of an item is the item itself, or `key(item)`: a JSON value that `items` can start behind.

        Each call is a step, so a function that is called again must make the same calls. A step begins when all steps
        before it have ended: until then the function stops here, holds no worker, and is called again in time. With
        `after`, the step waits for those alone, and the call returns at once; `after=[]` waits for none. A step behind
        one that has a dead batch, or was left out, is left out too, unless it runs `even_if_failed`.

        Raises:
            PushRefused: an item breaks the handler's schema or is too large, the queue does not exist, or the
                function splits otherwise than before. What was pushed before is done; the run fails with this reason.
            LostLease: another splitter took the run over, or the run was cancelled.
        """
        return self._split(handler, items, key=key, after=after, even_if_failed=even_if_failed)
