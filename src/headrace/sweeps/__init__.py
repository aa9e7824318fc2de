"""The sweeps: each finds and mends one kind of thing left undone, within a bounded time."""

from headrace.sweeps.sweeps import Sweeps

__all__ = ["Sweeps"]
