"""The order of SQLite's writers: one at a time, in this process and beside it.

SQLite lets a second writer poll, with pauses that grow; a lock in the kernel wakes it when it is its turn.
"""

import fcntl
import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path


class WriterLock:
    """Held while a process writes: by one thread of it, and by one process. `path` is the lock's file, None is alone.

    Whoever writes without it is still kept apart by SQLite's own lock.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._file: int | None = None
        self._process = 0

    def acquire(self, blocking: bool = True) -> bool:
        """Wait for this process's turn; without `blocking`, False when another thread of it writes."""
        if not self._threads.acquire(blocking=blocking):
            return False
        if self._path is not None:
            self._open(self._path)
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Let the next one write."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._threads.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()

    def close(self) -> None:
        """Close the lock's file."""
        if self._file is not None:
            self._file = None
            self._closed()

    def _open(self, path: Path) -> None:
        # A file opened before a fork would be one lock for parent and child.
        if self._file is None or self._process != os.getpid():
            self._process = os.getpid()
            # Where no file can be made, SQLite has more to say about it.
            with suppress(OSError):
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                self._closed = weakref.finalize(self, os.close, self._file)
