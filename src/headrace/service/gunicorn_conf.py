"""gunicorn's settings for the service: `gunicorn -c gunicorn.conf.py 'headrace.service:create_app()'`.

Threads, not sync workers: these close each connection, which makes a push three times as dear for the queue.
"""

import gc
import os
import signal
import threading
from types import FrameType
from typing import Any

from headrace.config.settings import load_settings
from headrace.contract.limits import WORKER_TIMEOUT
from headrace.service.current import service_of

_settings = load_settings(os.environ)
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


def post_worker_init(worker: Any) -> None:
    """On SIGTERM let attempts end; three quarters into the grace, give back the leases of those that did not."""
    # What start-up made stays for good: the collector need not look at it again and again.
    gc.freeze()
    finish = signal.getsignal(signal.SIGTERM)
    give_back = service_of(worker.wsgi).give_back

    def stop(number: int, frame: FrameType | None) -> None:
        late = threading.Timer(worker.cfg.graceful_timeout * 0.75, give_back)
        late.daemon = True
        late.start()
        if callable(finish):
            finish(number, frame)

    signal.signal(signal.SIGTERM, stop)
