"""The split: items stream into batches; each chunk is one short transaction with its cursor, then it is pushed."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from headrace.contract.operations import Operation
from headrace.database import batch_rows, run_rows, step_rows
from headrace.database.step_rows import StepRow
from headrace.errors import LostLease, PushRefused
from headrace.runs.fanin import end_if_complete, settle_run, upstream_of
from headrace.runs.job import Items, Step
from headrace.runs.overrides import batch_size_of
from headrace.runs.payloads import Payload, cut
from headrace.runs.policy import RunPolicy
from headrace.runs.pushing import Pusher

_log = structlog.get_logger(__name__)


class Interruption(BaseException):
    """Ends a call of a job's function that is not at its end; no Exception, so that no author catches it."""


class OutOfTime(Interruption):
    """The request's time is up; the run waits for its next splitter."""


class StepsPending(Interruption):
    """The next step waits for others; the function is called again when they have ended."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A step to split: where its cursor is, the number of its next batch, and the size of its batches."""

    step_id: int
    cursor: Any
    next_number: int
    batch_size: int


@dataclass(slots=True)
class Split:
    """One splitter at work on a run, while it holds the lease `fence`. `until` is in epoch seconds.

    `calls` counts the steps that the function has split; `waits` when it stopped at the last of them.
    """

    pusher: Pusher
    policy: RunPolicy
    run_id: str
    fence: int
    until: float
    calls: int = 0
    waits: bool = False

    def __call__(
        self,
        handler: Callable[..., Any],
        items: Items,
        *,
        key: Callable[[Any], Any] | None = None,
        after: Sequence[Step] | None = None,
        even_if_failed: bool = False,
    ) -> Step:
        """Split one step from its cursor to its end, or until time is up; see `Job.split`.

        Raises:
            OutOfTime, StepsPending, LostLease, PushRefused
        """
        self.calls += 1
        operation = self.pusher.contract.handler_of(handler)
        self.pusher.require_queue(operation)
        opened = self._open(operation, after, even_if_failed)
        if opened is not None:
            self._split(operation, opened, items, key)
        return Step(self.calls)

    def finish(self) -> tuple[str, ...]:
        """The function is at its end, or at a step that waits; the runs that want a splitter now.

        Raises:
            LostLease: another splitter took the run over, or the run was cancelled.
            PushRefused: the function split fewer steps than before.
        """
        with self.pusher.database.write() as connection:
            steps = step_rows.list_steps(connection, self.run_id)
            if not self.waits and self.calls < len(steps):
                raise _splits_otherwise(f"The job has split {len(steps)} steps before, and now {self.calls}.")
            return self._leave(connection, sealed=all(step.sealed for step in steps))

    def fail(self, reason: str) -> tuple[str, ...]:
        """Nothing more is split; the run fails when its batches have ended. The runs that want a splitter now.

        Raises:
            LostLease: see `finish`.
        """
        now = self._now_ms()
        with self.pusher.database.write() as connection:
            self._hold(connection)
            # The others end with their last batch, which locks its step before the run.
            for step in step_rows.list_steps(connection, self.run_id):
                if step.sealed:
                    continue
                if step.cursor is None:
                    step_rows.leave_out(connection, step.id, reason="the run failed before", now=now)
                else:
                    step_rows.seal_step(connection, step.id)
                    end_if_complete(connection, step.id, now=now)
            return self._leave(connection, sealed=True, reason=reason)

    def release(self) -> None:
        """Let the next splitter take the run at once."""
        with self.pusher.database.write() as connection:
            run_rows.extend_split(connection, self.run_id, fence=self.fence, until=self._now_ms())

    def stumble(self) -> None:
        """Let the next splitter take the run at once: the database or the network let this one down."""
        with self.pusher.database.write() as connection:
            run_rows.stumble_split(connection, self.run_id, fence=self.fence, until=self._now_ms())

    def _leave(self, connection: Connection, *, sealed: bool, reason: str = "") -> tuple[str, ...]:
        if not run_rows.leave_split(connection, self.run_id, fence=self.fence, sealed=sealed, reason=reason):
            raise self._lost()
        return settle_run(connection, self.run_id, now=self._now_ms(), reached=self.calls)

    def _open(self, operation: Operation, after: Sequence[Step] | None, even_if_failed: bool) -> _Opened | None:
        """The step of this call, when there is something to split; None when it is split, left out, or waits."""
        with self.pusher.database.write() as connection:
            self._hold(connection)
            step, steps = self._find(connection, operation, after, even_if_failed)
            if step.sealed:
                return None
            upstream = upstream_of(step, steps)
            waits = any(other.ended_at is None for other in upstream)
            failed = [other.number for other in upstream if other.failed]
            if not waits and failed and not step.even_if_failed:
                reason = f"upstream failed: step {', '.join(map(str, failed))}"
                step_rows.leave_out(connection, step.id, reason=reason, now=self._now_ms())
                return None
            batch_size = batch_size_of(connection, operation)
        if not waits:
            cursor = None if step.cursor is None else json.loads(step.cursor)
            return _Opened(step.id, cursor, step.batches + 1, batch_size)
        if after is None:
            self.waits = True
            raise StepsPending
        return None

    def _find(
        self, connection: Connection, operation: Operation, after: Sequence[Step] | None, even_if_failed: bool
    ) -> tuple[StepRow, list[StepRow]]:
        """The row of this call's step, made where there is none, and those of all steps."""
        steps = step_rows.list_steps(connection, self.run_id)
        waits_for = range(1, self.calls) if after is None else sorted({each.number for each in after})
        if len(steps) < self.calls:
            step_rows.insert_step(
                connection,
                run_id=self.run_id,
                number=self.calls,
                handler=operation.operation_id,
                after=tuple(waits_for),
                even_if_failed=even_if_failed,
                now=self._now_ms(),
            )
            steps = step_rows.list_steps(connection, self.run_id)
        step = steps[self.calls - 1]
        if step.handler != operation.operation_id:
            raise _splits_otherwise(
                f"Step {step.number} was split for {step.handler}, and now for {operation.operation_id}."
            )
        if step.after != tuple(waits_for):
            raise _splits_otherwise(f"Step {step.number} waited for other steps before.")
        return step, steps

    def _split(self, operation: Operation, opened: _Opened, items: Items, key: Callable[[Any], Any] | None) -> None:
        number = opened.next_number
        with self.pusher.database.read() as reading:
            source = items(reading.execution_options(yield_per=1_000), opened.cursor)
            pairs = ((item, item if key is None else key(item)) for item in source)
            payloads = cut(
                pairs,
                batch_size=opened.batch_size,
                max_body=self.pusher.driver.max_body,
                max_payload=self.policy.max_payload,
            )
            for chunk in self._chunks(operation, self._tell_short(operation, payloads)):
                first_number, number = number, number + len(chunk)
                self._write(operation, opened.step_id, first_number, chunk)
                self.pusher.push_soon(operation, opened.step_id, first_number)
                if self._now() >= self.until:
                    raise OutOfTime
        with self.pusher.database.write() as connection:
            self._hold(connection)
            sealed = step_rows.seal_step(connection, opened.step_id)
            if sealed.terminal >= sealed.batches:
                end_if_complete(connection, opened.step_id, now=self._now_ms())

    def _tell_short(self, operation: Operation, payloads: Iterator[Payload]) -> Iterator[Payload]:
        told = False
        for payload in payloads:
            if payload.short and not told:
                told = True
                _log.warning(
                    "batches cut by size",
                    run_id=self.run_id,
                    handler=operation.operation_id,
                    items=payload.items,
                    bytes=len(payload.body),
                    most_bytes=self.pusher.driver.max_body,
                )
            yield payload

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

    def _write(self, operation: Operation, step_id: int, first_number: int, chunk: list[Payload]) -> None:
        with self.pusher.database.write() as connection:
            self._hold(connection)
            batch_rows.insert_batches(
                connection,
                run_id=self.run_id,
                step_id=step_id,
                first_number=first_number,
                new=[self.pusher.batch_of(operation, payload) for payload in chunk],
            )
            step_rows.grow_step(
                connection,
                step_id,
                cursor=json.dumps(chunk[-1].cursor),
                batches=len(chunk),
                items=sum(payload.items for payload in chunk),
            )

    def _hold(self, connection: Connection) -> None:
        until = int((self._now() + self.policy.split_lease) * 1000)
        if not run_rows.extend_split(connection, self.run_id, fence=self.fence, until=until):
            raise self._lost()

    def _lost(self) -> LostLease:
        return LostLease(f"Run {self.run_id} is split by another process now, or was cancelled.")

    def _now(self) -> float:
        return self.pusher.clock.now()

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def _splits_otherwise(what: str) -> PushRefused:
    return PushRefused(
        what, hint="A job's function is called again for each step: let it make the same calls of split each time."
    )
