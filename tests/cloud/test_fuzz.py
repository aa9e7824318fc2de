"""Whatever comes over the wire, the server stays alive, answers the next call, and blames the caller, not itself."""

import contextlib
import json
import re
import resource
import socket
import struct
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import grpc
import psutil
import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.cloud.descriptors import POOL, Message, message_class
from headrace.cloud.fronts.bindings import BINDINGS, LOCATIONS, OPERATIONS, SCHEDULER, TASKS, Binding
from tests.cloud.conftest import LOCATION, Server, start_server, stop_server

PACKAGES = {
    TASKS: "google.cloud.tasks.v2.",
    SCHEDULER: "google.cloud.scheduler.v1.",
    LOCATIONS: "google.cloud.location.",
    OPERATIONS: "google.longrunning.",
}
SERVER_FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
QUEUE = f"{LOCATION}/queues/fuzz"
CONNECTIONS = 10_000
ANSWER = 5.0
"""Seconds within which a call must be answered, whatever else goes on."""
GROWTH = 200 << 20
"""Bytes by which the server may grow while it is fuzzed or holds ten thousand idle connections."""

_VARIABLE = re.compile(r"\{[a-z_.]+=([^}]*)\}")

fuzzed = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> Iterator[None]:
    """As many files as may be open, here and in the server, which inherits the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def fuzz_server(_many_files: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("fuzz") / "queue.yaml"
    path.write_text("queue:\n- {name: fuzz, rate: 500/s}\n")
    server = start_server("--memory", f"--queues={path}")
    before = memory(server)
    yield server
    assert memory(server) - before < GROWTH
    assert stop_server(server) == 0


@pytest.fixture(scope="module")
def channel(fuzz_server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(fuzz_server.grpc) as channel:
        yield channel


@pytest.fixture(autouse=True)
def _reset(fuzz_server: Server) -> None:
    """The queue that requests name is there, and nothing else: the test before may have deleted it."""
    assert send(fuzz_server, "POST", "/headrace/v1:reset")[0] == 200


def memory(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


def address(server: Server) -> tuple[str, int]:
    host, _, port = server.rest.removeprefix("http://").rpartition(":")
    return host, int(port)


def check_alive(server: Server, channel: grpc.Channel) -> None:
    """Both sides answer a normal call in time."""
    request = message_class("google.cloud.tasks.v2.ListQueuesRequest")(parent=LOCATION).SerializeToString()
    channel.unary_unary(f"/{TASKS}/ListQueues")(request, timeout=ANSWER)
    assert send(server, "GET", f"/v2/{LOCATION}/queues")[0] == 200


def send(server: Server, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = HTTPConnection(*address(server), timeout=ANSWER)
    connection.request(method, path, body)
    answer = connection.getresponse()
    document = json.load(answer)
    connection.close()
    return answer.status, document


def request_class(rpc: str) -> Any:
    service, _, method = rpc.partition("/")
    package = "google.iam.v1." if "Iam" in method else PACKAGES[service]
    return message_class(f"{package}{method}Request")


NAMES = st.sampled_from(
    [
        *("", "/", "projects/demo", LOCATION, QUEUE, f"{QUEUE}/tasks/t", f"{QUEUE}/tasks/", f"{LOCATION}/jobs/j"),
        *(
            f"{LOCATION}/queues/{'q' * 101}",
            f"{LOCATION}/cmekConfig",
            f"{LOCATION}/operations/o",
            "http://127.0.0.1:9/x",
        ),
        *("https://[::1", "http://", "*/5 * * * *", "every 5 minutes", "Europe/Zurich", "a=b", "state:RUNNING", "\x00"),
        *(
            "projects/demo/topics/topic",
            "tasks@demo.iam.gserviceaccount.com",
            "name,schedule",
            "rate_limits.x",
            "../..",
        ),
    ]
)
TEXTS = NAMES | st.text(max_size=40)
SMALL = st.sampled_from([0, 1, -1, 2, 5, 15, 100, 1000, 2**31 - 1, -(2**31)])
LARGE = SMALL | st.sampled_from([2**63 - 1, -(2**63), 253402300800, -62135596801, 315576000001])
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    9: TEXTS,
    12: st.binary(max_size=40),
    8: st.booleans(),
    1: st.floats(),
    5: SMALL,
    3: LARGE,
    14: SMALL,
}
"""What a field may hold, by the number of its type in descriptor.proto."""


WELL_FORMED = {
    "parent": [LOCATION, QUEUE],
    "name": [QUEUE, f"{QUEUE}/tasks/t", f"{LOCATION}/jobs/j", LOCATION, "projects/demo", f"{LOCATION}/cmekConfig"],
    "names": [f"{QUEUE}/tasks/t"],
    "resource": [QUEUE],
    "url": ["http://127.0.0.1:9/x"],
    "uri": ["http://127.0.0.1:9/x"],
    "relative_uri": ["/x"],
    "schedule": ["0 9 * * 1", "every 5 hours"],
    "time_zone": ["Etc/UTC"],
    "topic_name": ["projects/demo/topics/topic"],
    "service_account_email": ["tasks@demo.iam.gserviceaccount.com"],
    "paths": [
        "rate_limits.max_dispatches_per_second",
        "retry_config",
        "http_target.uri_override",
        "schedule",
        "bindings",
    ],
}
"""What gets a request past the first checks, by the field's name."""


def scalars(field: Any) -> st.SearchStrategy[Any]:
    strategy = SCALARS[field.type]
    return st.sampled_from(WELL_FORMED[field.name]) | strategy if field.name in WELL_FORMED else strategy


@st.composite
def messages(draw: st.DrawFn, kind: Any, depth: int = 0) -> Message:
    """A message of `kind`: well formed, and mostly wrong. A whole request has half the time all of its fields."""
    message = kind()
    fields = [field for field in kind.DESCRIPTOR.fields if depth < 5 or field.message_type is None]
    if fields and (depth > 0 or draw(st.booleans())):
        fields = draw(st.lists(st.sampled_from(fields), max_size=6, unique=True))
    for field in fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is None:
                getattr(message, field.name).update(draw(st.dictionaries(TEXTS, TEXTS, max_size=3)))
        elif field.message_type is not None:
            inner = messages(message_class(field.message_type.full_name), depth + 1)
            if field.is_repeated:
                getattr(message, field.name).extend(draw(st.lists(inner, max_size=3)))
            else:
                getattr(message, field.name).CopyFrom(draw(inner))
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(scalars(field), max_size=3)))
        else:
            setattr(message, field.name, draw(scalars(field)))
    return message


def call(channel: grpc.Channel, rpc: str, request: bytes) -> grpc.StatusCode:
    try:
        channel.unary_unary(f"/{rpc}")(request, timeout=ANSWER)
    except grpc.RpcError as refusal:
        code: grpc.StatusCode = refusal.code()
        if code in SERVER_FAULTS:
            raise
        return code
    return grpc.StatusCode.OK


RPCS = sorted({binding.rpc for binding in BINDINGS})


@pytest.mark.parametrize("rpc", RPCS)
def test_no_message_is_a_fault_of_the_server(rpc: str, fuzz_server: Server, channel: grpc.Channel) -> None:
    @fuzzed
    @given(messages(request_class(rpc)))
    def check(request: Message) -> None:
        assert call(channel, rpc, request.SerializeToString()) is not grpc.StatusCode.DEADLINE_EXCEEDED

    check()
    check_alive(fuzz_server, channel)


@pytest.mark.parametrize("rpc", RPCS)
def test_bytes_that_are_no_message_are_refused(rpc: str, channel: grpc.Channel) -> None:
    assert call(channel, rpc, b"\xff\xff\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT

    @fuzzed
    @given(st.binary(max_size=60))
    def check(request: bytes) -> None:
        assert call(channel, rpc, request) is not grpc.StatusCode.DEADLINE_EXCEEDED

    check()


JSON = st.recursive(
    st.none() | st.booleans() | LARGE | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def documents(draw: st.DrawFn, kind: Any) -> Any:
    """The JSON of a message, some of its values replaced by what may not stand there."""
    try:
        document = json_format.MessageToDict(draw(messages(kind)), descriptor_pool=POOL)
    except (ValueError, TypeError, json_format.Error):
        return draw(JSON)
    return {name: draw(JSON) if draw(st.integers(0, 4)) == 0 else value for name, value in document.items()}


@st.composite
def paths(draw: st.DrawFn, binding: Binding) -> str:
    """A path that fits the template of a binding, with odd segments, and a query that may name no field."""
    path = _VARIABLE.sub(lambda variable: variable[1], binding.template)
    while "*" in path:
        path = path.replace("*", quote(draw(st.sampled_from(["demo", "here", "fuzz"]) | TEXTS), safe="") or "-", 1)
    names = st.sampled_from(["pageSize", "updateMask", "responseView", "alt"]) | TEXTS
    query = draw(st.lists(st.tuples(names, TEXTS), max_size=2))
    return path + "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)


@pytest.mark.parametrize("binding", BINDINGS, ids=lambda binding: binding.method + binding.template)
def test_no_json_is_a_fault_of_the_server(binding: Binding, fuzz_server: Server, channel: grpc.Channel) -> None:
    @fuzzed
    @given(paths(binding), documents(request_class(binding.rpc)) | JSON)
    def check(path: str, document: Any) -> None:
        status, answer = send(fuzz_server, binding.method, path, json.dumps(document).encode())
        assert status == 200 or answer["error"]["code"] == status < 500, answer

    check()
    check_alive(fuzz_server, channel)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Some HTTP/2 frames of any type, flags and stream, with lengths that are sometimes lies."""
    parts = []
    for payload in draw(st.lists(st.binary(max_size=60), min_size=1, max_size=8)):
        length = draw(st.sampled_from([len(payload), len(payload) + 1, 0xFFFFFF]))
        kind, flags = draw(st.integers(0, 12)), draw(st.integers(0, 255))
        stream = draw(st.sampled_from([0, 1, 2, 3, 0x7FFFFFFF, 0xFFFFFFFF]))
        parts.append(struct.pack(">I", length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload)
    return b"".join(parts)


HTTP2 = st.binary(max_size=100) | st.builds(lambda rest: PREFACE[:20] + rest, st.binary(max_size=40))
HTTP2_FRAMES = st.builds(lambda rest: PREFACE + SETTINGS + rest, frames())
HTTP1 = st.binary(max_size=200) | st.builds(
    lambda method, path, head, body: b" ".join([method, path, b"HTTP/1.1\r\n" + head + b"\r\n\r\n" + body]),
    st.sampled_from([b"GET", b"POST", b"CONNECT", b"PRI", b"\x00", b"get"]),
    st.sampled_from([b"/healthz", b"*", b"/v2/%", b"//", b"http://a:b/", b"/" + b"a" * 9000]) | st.binary(max_size=20),
    st.sampled_from(
        [
            *(
                b"content-length: -1",
                b"content-length: 99999999999999999999",
                b"content-length: 5\r\ncontent-length: 6",
            ),
            *(b"transfer-encoding: chunked", b"transfer-encoding: chunked, gzip", b"host", b": a", b"a\x00: b"),
            *(b"expect: 100-continue\r\ncontent-length: 9", b"upgrade: h2c\r\nconnection: upgrade", b"x: " + b"\xff"),
        ]
    ),
    st.sampled_from([b"", b"5\r\nabc", b"zzz\r\n", b"FFFFFFFFFFFFFFFF\r\n", b"{}"]),
)


def throw(target: tuple[str, int], data: bytes) -> None:
    """Send bytes, hang up, and read what comes: an answer or nothing, but an end."""
    with socket.create_connection(target, timeout=ANSWER) as raw:
        try:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65536):
                pass
        except TimeoutError:
            raise
        except OSError:
            # The server hung up first.
            return


@pytest.mark.parametrize("data", [HTTP2, HTTP2_FRAMES], ids=["prefaces", "frames"])
def test_bad_http2_ends_its_own_connection_alone(
    data: st.SearchStrategy[bytes], fuzz_server: Server, channel: grpc.Channel
) -> None:
    host, _, port = fuzz_server.grpc.rpartition(":")

    @settings(fuzzed, max_examples=150)
    @given(data)
    def check(sent: bytes) -> None:
        throw((host, int(port)), sent)

    check()
    check_alive(fuzz_server, channel)


def test_bad_http1_ends_its_own_connection_alone(fuzz_server: Server, channel: grpc.Channel) -> None:
    @settings(fuzzed, max_examples=150)
    @given(HTTP1)
    def check(sent: bytes) -> None:
        throw(address(fuzz_server), sent)

    check()
    check_alive(fuzz_server, channel)


@pytest.mark.parametrize(
    ("side", "begun"),
    [
        ("rest", b"POST /v2/projects/demo/locations/here/queues HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{"),
        ("rest", b"GET /heal"),
        ("grpc", PREFACE[:10]),
        ("grpc", PREFACE + SETTINGS),
    ],
    ids=["body", "head", "preface", "settings"],
)
def test_clients_that_stop_in_the_middle_hold_up_nobody(
    side: str, begun: bytes, fuzz_server: Server, channel: grpc.Channel
) -> None:
    host, _, port = fuzz_server.grpc.rpartition(":")
    target = (host, int(port)) if side == "grpc" else address(fuzz_server)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(target, timeout=ANSWER)).sendall(begun)
        check_alive(fuzz_server, channel)


def test_ten_thousand_idle_connections_hold_up_nobody(fuzz_server: Server, channel: grpc.Channel) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < CONNECTIONS + 200:
        pytest.skip(f"a process may open {limit} files here, and {CONNECTIONS} connections are wanted")
    host, _, port = fuzz_server.grpc.rpartition(":")
    before = memory(fuzz_server)
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS // 2):
            stack.enter_context(socket.create_connection(address(fuzz_server), timeout=ANSWER))
            stack.enter_context(socket.create_connection((host, int(port)), timeout=ANSWER))
        check_alive(fuzz_server, channel)
        assert memory(fuzz_server) - before < GROWTH
