"""gunicorn's worker with threads, which takes a new connection only while it has a thread for it.

Workers share one listening socket, and connections are kept: one that took most of a queue's connections while its
siblings were busy would do most of the work for as long as these live.
"""

from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]


class Worker(ThreadWorker):  # type: ignore[misc]
    """Leaves new connections to its siblings, or to the kernel's backlog, while all threads are at work."""

    def enqueue_req(self, conn: Any) -> None:
        """Hand a connection with a request to the threads."""
        super().enqueue_req(conn)
        if not self._has_idle_thread():
            self.set_accept_enabled(False)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Listen, or not; asked in every turn of the worker's loop that finds it not listening."""
        super().set_accept_enabled(enabled and self._has_idle_thread())

    def _has_idle_thread(self) -> bool:
        at_work = self.nr_conns - len(self.keepalived_conns) - len(self.pending_conns)
        return bool(at_work < self.cfg.threads)
