"""A write of the store, and what follows it."""

from asyncio import Future
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def written(write: Future[T], then: Callable[[T], object]) -> T:
    """The answer of a write. `then` acts on it once it is durable, whether or not the caller still waits."""
    # asyncio.shield would cost a turn of the loop more.
    answer: Future[T] = write.get_loop().create_future()

    def settled(write: Future[T]) -> None:
        error = write.exception()
        if error is None:
            then(write.result())
        if answer.done():  # by a caller that was cancelled
            return
        if error is None:
            answer.set_result(write.result())
        else:
            answer.set_exception(error)

    write.add_done_callback(settled)
    return await answer
