"""A sink for mails: two vendors of one kind, one that takes idempotency keys and one that does not."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Sink:
    """The mails that were sent: (run, person). `/keyed` takes one mail of each idempotency key, `/plain` all."""

    address: str
    mails: list[tuple[str, int]] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, path: str, key: str, mail: dict[str, object]) -> int:
        """Take a mail; its number."""
        with self._lock:
            if path == "/keyed" and key in self._numbers:
                return self._numbers[key]
            self.mails.append((str(mail["run"]), int(str(mail["person"]))))
            self._numbers[key] = len(self.mails)
            return len(self.mails)

    def sent(self, run_id: str) -> list[int]:
        """To whom mails of a run were sent, in the order of people."""
        with self._lock:
            return sorted(person for run, person in self.mails if run == run_id)


@contextmanager
def run_sink() -> Iterator[Sink]:
    """A sink that listens until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            mail = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"number": sink.take(self.path, self.headers["Idempotency-Key"], mail)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sink = Sink(f"127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()
