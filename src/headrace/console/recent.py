"""What pages read, kept for a moment: however many people watch one page live, it is read once for all of them."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST = 100
"""Pages whose values are kept at one time."""
LONGEST = 10.0
"""Seconds that a value is kept at most."""
_SHARE = 0.01


@dataclass(slots=True)
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    until: float = -math.inf


class Recent:
    """Keeps values by their keys for `seconds` of `monotonic`. Thread-safe: one reads, the others wait for it.

    A value that is dear to read is kept longer, so that reading it takes a hundredth of the time.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, read: Callable[[], Any]) -> Any:
        """The kept value of a key, or what `read` gives now. What `read` raises is raised, and nothing is kept."""
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)
        with kept.lock:
            begun = self._monotonic()
            if begun >= kept.until:
                kept.value = read()
                taken = self._monotonic() - begun
                kept.until = begun + min(LONGEST, max(self._seconds, taken / _SHARE))
            return kept.value

    def forget(self) -> None:
        """Keep nothing of what was read so far."""
        with self._lock:
            self._kept.clear()
