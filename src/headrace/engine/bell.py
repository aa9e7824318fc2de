"""What those listen for who wait until something has happened."""

import asyncio
from asyncio import Future


class Bell:
    """Rung at every change; costs nothing while nobody listens. All belongs to one event loop."""

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: list[Future[None]] = []

    def ring(self) -> None:
        """Wake all who listen now."""
        if self._listeners:
            listeners, self._listeners = self._listeners, []
            for listener in listeners:
                if not listener.done():
                    listener.set_result(None)

    async def heard(self) -> None:
        """Return at the next ring."""
        listener: Future[None] = asyncio.get_running_loop().create_future()
        self._listeners.append(listener)
        await listener
