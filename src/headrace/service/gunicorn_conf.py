"""gunicorn's settings for the service: `gunicorn -c gunicorn.conf.py 'headrace.service:create_app()'`.

Threads, not sync workers: these close each connection, which makes a push three times as dear for the queue.
"""

import gc
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from headrace.config.settings import load_settings
from headrace.contract.limits import WORKER_TIMEOUT
from headrace.service.current import service_of

_settings = load_settings(os.environ)
if _settings.release is None:
    # Read once, before the workers are: where nothing tells the release, each start of the service is one.
    os.environ["HEADRACE_RELEASE"] = uuid.uuid4().hex
if _settings.workers > 1:
    # Before anything imports prometheus_client, which then keeps its counters in files: a scrape meets one worker.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_settings.data / "metrics")
_host = "127.0.0.1" if _settings.development else "0.0.0.0"  # noqa: S104 - guards stand before every operation

worker_class = "headrace.service.worker.Worker"
bind = f"{_host}:{_settings.port}"
workers = _settings.workers
threads = _settings.threads

# Above every dispatch deadline, so that no worker is killed under a live attempt.
timeout = int(WORKER_TIMEOUT)

# App Engine and Cloud Run kill 10 seconds after SIGTERM; what still runs then is delivered again.
graceful_timeout = 8

# Longer than a queue leaves a connection idle between two pushes at a slow rate, so that it can be used again.
keepalive = 75

# Workers are not recycled by count: a recycled worker cuts off the attempts of its other threads.
max_requests = 0

# One file in the home folder for all services of a user; nothing here is managed at run time.
control_socket_disable = True

# The service writes a line for each request itself, without headers or bodies.
accesslog = None


def on_starting(server: Any) -> None:
    """Forget the counters of processes that were. Where they cannot be kept, each worker tells its own."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(parents=True)
    except OSError as error:
        server.log.warning("Metrics are those of one worker: %s", error)
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]


def child_exit(_server: Any, worker: Any) -> None:
    """A worker that is gone is no worker any more; what it counted stays."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def post_worker_init(worker: Any) -> None:
    """On SIGTERM let attempts end; three quarters into the grace, give back the leases of those that did not.

    When the grace is over, the process ends. The interpreter alone would wait for the threads that are left, for
    ever where one is stuck; and a worker that stops by itself is not killed by gunicorn.

    A queue in this process delivers from now on, and no more from that signal on. An attempt that is stuck makes the
    worker send that signal to itself: gunicorn starts another one.
    """
    # What start-up made stays for good: the collector need not look at it again and again.
    gc.freeze()
    finish = signal.getsignal(signal.SIGTERM)
    service = service_of(worker.wsgi)
    queue = service.queue
    if queue is not None:
        queue.start(worker.wsgi)
    if service.watchdog is not None:
        service.watchdog.start(lambda: os.kill(os.getpid(), signal.SIGTERM))

    def stop(number: int, frame: FrameType | None) -> None:
        _call_after(worker.cfg.graceful_timeout * 0.75, service.give_back)
        _call_after(worker.cfg.graceful_timeout + 0.5, os._exit, 1)
        if queue is not None:
            threading.Thread(target=queue.close).start()
        if callable(finish):
            finish(number, frame)

    signal.signal(signal.SIGTERM, stop)


def worker_exit(_server: Any, worker: Any) -> None:
    """The watchdog does not look on while the interpreter is taken down."""
    if worker.booted and (watchdog := service_of(worker.wsgi).watchdog) is not None:
        watchdog.stop()


def _call_after(seconds: float, call: Callable[..., object], *arguments: object) -> None:
    timer = threading.Timer(seconds, call, arguments)
    timer.daemon = True
    timer.start()
