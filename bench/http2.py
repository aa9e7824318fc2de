"""The least of an HTTP/2 client that can load a gRPC server: one connection, one method.

A client that costs more than the server measures itself. This one sends frames that are ready made, reads no
header and looks at stream ends alone. HTTP/2 is RFC 9113, the framing of messages is gRPC's own.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Final

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_WIDE: Final = 1 << 30
_LARGEST: Final = 16_000
_PATIENCE: Final = 30.0


class GrpcLoad:
    """Calls one unary method of a gRPC server on loopback; `messages`, of at most 16,000 bytes, has no end.

    Counts answers, not statuses: make one call with a real client first. A server that says nothing for 30 s
    raises TimeoutError.
    """

    def __init__(self, address: str, method: str, messages: Iterator[bytes]) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wide = struct.pack(">HI", 4, _WIDE)
        opening = _frame(_SETTINGS, 0, 0, wide) + _frame(_WINDOW, 0, 0, struct.pack(">I", _WIDE))
        self._socket.sendall(_PREFACE + opening)
        # Static entries 3 and 6 of HPACK are `:method: POST` and `:scheme: http`; the others are literals.
        self._headers = b"\x83\x86" + b"".join(
            _literal(name, value)
            for name, value in (
                (b":path", method.encode()),
                (b":authority", address.encode()),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
            )
        )
        self._messages = messages
        self._data = _enclose(next(messages))
        self._stream = 1
        self._window = 65_535
        self._unread = b""

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def run(self, calls: int, in_flight: int) -> None:
        """Make `calls` calls, `in_flight` of them at a time."""
        begun = ended = 0
        while ended < calls:
            requests = []
            while begun - ended < in_flight and begun < calls and len(self._data) <= self._window:
                requests.append(self._request())
                begun += 1
            if requests:
                self._socket.sendall(b"".join(requests))
            ended += self._read()

    def _request(self) -> bytes:
        stream, data = self._stream, self._data
        self._stream += 2
        self._window -= len(data)
        self._data = _enclose(next(self._messages))
        return _frame(_HEADERS, _END_HEADERS, stream, self._headers) + _frame(_DATA, _END_STREAM, stream, data)

    def _read(self) -> int:
        """Take in what has come; returns how many calls ended with it."""
        self._unread += self._socket.recv(1 << 20)
        ended = 0
        for kind, flags, stream, payload in self._frames():
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._socket.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            elif kind == _WINDOW and stream == 0:
                self._window += int.from_bytes(payload)
            elif kind == _RESET or (kind == _HEADERS and flags & _END_STREAM):
                ended += 1
            elif kind == _GOAWAY:
                raise ConnectionError(f"the server went away: {payload!r}")
        return ended

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """The whole frames that have come: kind, flags, stream, payload."""
        data, at = self._unread, 0
        while at + 9 <= len(data):
            end = at + 9 + int.from_bytes(data[at : at + 3])
            if end > len(data):
                break
            yield data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9]), data[at + 9 : end]
            at = end
        self._unread = data[at:]


def _enclose(message: bytes) -> bytes:
    if len(message) > _LARGEST:
        raise ValueError(f"a message of {len(message)} bytes does not fit one frame")
    return b"\0" + struct.pack(">I", len(message)) + message


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value
