"""The split: items stream into batches; each chunk is one short transaction with its cursor, then it is pushed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from headrace.contract.operations import Operation
from headrace.database import batch_rows, run_rows
from headrace.errors import LostLease, PushRefused
from headrace.runs.fanin import end_if_complete
from headrace.runs.job import Items
from headrace.runs.overrides import batch_size_of
from headrace.runs.payloads import Payload, cut
from headrace.runs.policy import RunPolicy
from headrace.runs.pushing import Pusher


class OutOfTime(Exception):
    """The request's time is up; the run waits for its next splitter."""


@dataclass(slots=True)
class Split:
    """One splitter at work on a run, while it holds the lease `fence`. `until` is in epoch seconds."""

    pusher: Pusher
    policy: RunPolicy
    run_id: str
    fence: int
    until: float
    step_done: bool = False

    def __call__(self, handler: Callable[..., Any], items: Items, key: Callable[[Any], Any] | None) -> None:
        """Split from the cursor to the end, or until time is up.

        Raises:
            OutOfTime, LostLease, PushRefused
        """
        if self.step_done:
            raise PushRefused("A job splits once.", hint="Start a second job for the second split.")
        operation = self.pusher.contract.handler_of(handler)
        self.pusher.require_queue(operation)
        step_id, cursor, number, batch_size = self._step(operation)
        with self.pusher.database.read() as reading:
            source = items(reading.execution_options(yield_per=1_000), cursor)
            pairs = ((item, item if key is None else key(item)) for item in source)
            payloads = cut(pairs, batch_size=batch_size, max_body=self.pusher.driver.max_body)
            for chunk in self._chunks(operation, payloads):
                self._write(step_id, number, chunk)
                number += len(chunk)
                self.pusher.relay.push_pending(run_id=self.run_id)
                if self._now() >= self.until:
                    raise OutOfTime
        self.step_done = True

    def seal(self, reason: str = "") -> None:
        """The splitter has no more to say; a reason makes the run fail when its batches have ended.

        Raises:
            LostLease: another splitter took the run over.
        """
        now = int(self._now() * 1000)
        with self.pusher.database.write() as connection:
            if not run_rows.seal_run(connection, self.run_id, fence=self.fence, reason=reason):
                raise LostLease(f"Run {self.run_id} is split by another process now.")
            step = run_rows.find_step(connection, self.run_id, 1)
            step_id = (
                run_rows.insert_step(connection, run_id=self.run_id, number=1, handler="", now=now)
                if step is None
                else step.id
            )
            sealed = run_rows.seal_step(connection, step_id)
            if sealed.terminal >= sealed.batches:
                end_if_complete(connection, step_id, now=now)

    def release(self) -> None:
        """Let the next splitter take the run at once."""
        with self.pusher.database.write() as connection:
            run_rows.extend_split(connection, self.run_id, fence=self.fence, until=int(self._now() * 1000))

    def _step(self, operation: Operation) -> tuple[int, Any, int, int]:
        """Id and cursor of the step, the number of its next batch, and the size of its batches."""
        with self.pusher.database.write() as connection:
            self._hold(connection)
            batch_size = batch_size_of(connection, operation)
            step = run_rows.find_step(connection, self.run_id, 1)
            if step is not None:
                cursor = None if step.cursor is None else json.loads(step.cursor)
                return step.id, cursor, step.batches + 1, batch_size
            step_id = run_rows.insert_step(
                connection,
                run_id=self.run_id,
                number=1,
                handler=operation.operation_id,
                now=int(self._now() * 1000),
            )
            return step_id, None, 1, batch_size

    def _chunks(self, operation: Operation, payloads: Iterator[Payload]) -> Iterator[list[Payload]]:
        chunk: list[Payload] = []
        due = self._now() + self.policy.chunk_time
        for payload in payloads:
            self.pusher.contract.check_payload(operation, payload.value)
            chunk.append(payload)
            if len(chunk) >= self.policy.chunk_batches or self._now() >= due:
                yield chunk
                chunk, due = [], self._now() + self.policy.chunk_time
        if chunk:
            yield chunk

    def _write(self, step_id: int, first_number: int, chunk: list[Payload]) -> None:
        with self.pusher.database.write() as connection:
            self._hold(connection)
            batch_rows.insert_batches(
                connection,
                run_id=self.run_id,
                step_id=step_id,
                first_number=first_number,
                payloads=[(payload.body.decode(), payload.items) for payload in chunk],
            )
            run_rows.grow_step(
                connection,
                step_id,
                cursor=json.dumps(chunk[-1].cursor),
                batches=len(chunk),
                items=sum(payload.items for payload in chunk),
            )

    def _hold(self, connection: Any) -> None:
        until = int((self._now() + self.policy.split_lease) * 1000)
        if not run_rows.extend_split(connection, self.run_id, fence=self.fence, until=until):
            raise LostLease(f"Run {self.run_id} is split by another process now.")

    def _now(self) -> float:
        return self.pusher.clock.now()
