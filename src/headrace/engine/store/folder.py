"""The data folder: made when it is missing, held by one process at a time."""

import errno
import fcntl
import os
from pathlib import Path

from headrace.errors import StartError

PRIVATE = 0o700
"""Rights of a folder that is made: payloads and keys lie in it, so it is its owner's alone."""


class FolderLock:
    """An exclusive lock on a data folder, from `hold` until `release`. It ends with the process in any case."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def hold(self) -> None:
        """Make the folder and take its lock. Raises StartError, which names the holder's process id."""
        lock = self._folder / "lock"
        try:
            self._folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartError(
                f"The data folder {self._folder} cannot be written: {error.strerror}.",
                hint="Give this user the right to write there, or choose another folder.",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StartError(f"The data folder {self._folder} cannot be locked: {error.strerror}.") from error
            raise StartError(
                f"The data folder {self._folder} is held by the process with id {holder}.",
                hint="Stop that process, or choose another folder.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
