"""The REST front over services that keep what they are asked: paths, queries, bodies, answers, bounds."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from headrace.cloud.descriptors import Empty, Help, Message, message_class
from headrace.cloud.errors import ApiError, Code
from headrace.cloud.fronts import connections, rest
from headrace.cloud.fronts.access import Access
from headrace.cloud.fronts.bindings import BINDINGS
from headrace.cloud.fronts.rest import RestApplication, RestServer
from headrace.cloud.fronts.routes import Answer, Call, Route
from headrace.cloud.fronts.transcoding import api_routes, error_answer
from headrace.cloud.services import Rpc, Service

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "rest_routes.json").read_text())
LOCATION = "projects/demo/locations/here"
QUEUE = f"{LOCATION}/queues/work"
TASKS = f"/v2/{QUEUE}/tasks"
TOKEN = "a-token-for-these-tests"


@dataclass
class Front:
    """A REST server in a thread; `asked` are the requests that its services got."""

    port: int = 0
    asked: list[Message] = field(default_factory=list)
    refusal: ApiError | None = None

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """One request; a body that is not bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=15)
        connection.request(method, path, data, {"authorization": f"Bearer {TOKEN}"} | (headers or {}))
        answer = connection.getresponse()
        document = json.load(answer)
        connection.close()
        return answer.status, document

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)

    def services(self) -> list[Service]:
        tasks = "google.cloud.tasks.v2."

        def rpc(request: str, answer: Any) -> Rpc:
            async def serve(message: Message) -> Message:
                self.asked.append(message)
                if self.refusal is not None:
                    raise self.refusal
                return answer(message)

            return Rpc(message_class(request), serve)

        methods = {
            "CreateTask": rpc(f"{tasks}CreateTaskRequest", lambda asked: asked.task),
            "BatchCreateTasks": rpc(f"{tasks}BatchCreateTasksRequest", lambda _: Empty()),
            "ListTasks": rpc(f"{tasks}ListTasksRequest", lambda _: Empty()),
            "ListQueues": rpc(f"{tasks}ListQueuesRequest", lambda _: Empty()),
            "UpdateQueue": rpc(f"{tasks}UpdateQueueRequest", lambda asked: asked.queue),
            "PauseQueue": rpc(f"{tasks}PauseQueueRequest", lambda _: Empty()),
            "SetIamPolicy": rpc("google.iam.v1.SetIamPolicyRequest", lambda asked: asked.policy),
        }
        return [Service("google.cloud.tasks.v2.CloudTasks", methods)]


async def _echo(call: Call) -> Answer:
    return Answer(200, {**call.variables, "body": call.body.decode(), "origin": call.origin, "x": call.headers["x-a"]})


@pytest.fixture(scope="module")
def _front() -> Iterator[Front]:
    front = Front()
    ready = threading.Event()
    stopped = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            front.port = listener.getsockname()[1]
            routes = [*api_routes(front.services()), Route("PUT", "/own/{name}:echo", _echo)]
            server = RestServer(RestApplication(routes, Access(TOKEN)), listener)
            ready.set()
            await stopped.wait()
            await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(15)
    yield front
    loop.call_soon_threadsafe(stopped.set)
    thread.join()
    loop.close()


@pytest.fixture
def front(_front: Front) -> Front:
    _front.asked.clear()
    _front.refusal = None
    return _front


def test_every_method_stands_where_the_clients_look_for_it() -> None:
    ours = {(b.rpc.rpartition("/")[2], b.method, b.template, b.body or None) for b in BINDINGS}
    apis = (*VECTORS["cloudtasks.v2"], *VECTORS["cloudscheduler.v1"])
    assert ours == {(row["rpc"], row["method"], row["uri"], row["body"]) for row in apis}
    assert len(BINDINGS) == len(ours)


def test_path_query_and_body_make_the_request(front: Front) -> None:
    body = {"task": {"httpRequest": {"url": "http://a/", "headers": {"X-A": "b"}}}, "response_view": "FULL"}
    assert front.send("POST", TASKS, body)[0] == 200
    (asked,) = front.asked
    assert asked.parent == QUEUE
    assert asked.task.http_request.url == "http://a/"
    assert dict(asked.task.http_request.headers) == {"X-A": "b"}
    assert asked.response_view == 2


def test_a_body_may_be_one_field_and_the_query_another(front: Front) -> None:
    body = {"rateLimits": {"maxDispatchesPerSecond": 3.5}, "name": "not this one"}
    path = f"/v2/{QUEUE}?updateMask=rateLimits.maxDispatchesPerSecond,retry_config.max_attempts"
    status, answer = front.send("PATCH", path, body)
    (asked,) = front.asked
    assert asked.queue.name == QUEUE
    assert list(asked.update_mask.paths) == ["rate_limits.max_dispatches_per_second", "retry_config.max_attempts"]
    assert (status, answer) == (200, {"name": QUEUE, "rateLimits": {"maxDispatchesPerSecond": 3.5}})


def test_a_query_reaches_nested_fields_under_either_name(front: Front) -> None:
    front.send("PATCH", f"/v2/{QUEUE}?queue.rateLimits.maxBurstSize=7&queue.retry_config.max_backoff=2.5s", {})
    (asked,) = front.asked
    assert asked.queue.rate_limits.max_burst_size == 7
    assert (asked.queue.retry_config.max_backoff.seconds, asked.queue.retry_config.max_backoff.nanos) == (
        2,
        500_000_000,
    )


def test_an_empty_body_is_an_empty_message(front: Front) -> None:
    assert front.send("POST", f"/v2/{QUEUE}:pause") == (200, {})
    assert front.asked[0].name == QUEUE


def test_a_body_is_json_whatever_its_content_type(front: Front) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert front.send("POST", TASKS, {"task": {"name": "t"}}, headers) == (200, {"name": "t"})


def test_path_variables_are_percent_decoded(front: Front) -> None:
    front.send("GET", "/v2/projects/example.com%3Aapp/locations/here/queues?filter=state%3DPAUSED&pageSize=5")
    (asked,) = front.asked
    assert (asked.parent, asked.filter, asked.page_size) == (
        "projects/example.com:app/locations/here",
        "state=PAUSED",
        5,
    )


@pytest.mark.parametrize("view", ["FULL", "2"])
def test_enums_are_names_or_numbers(view: str, front: Front) -> None:
    front.send("GET", f"{TASKS}?responseView={view}")
    assert front.asked[0].response_view == 2


@pytest.mark.parametrize(
    ("query", "shown"), [("", "PUT"), ("?alt=json", "PUT"), ("?%24alt=json%3Benum-encoding%3Dint", 4)]
)
def test_enums_are_answered_as_the_caller_asks(query: str, shown: object, front: Front) -> None:
    body = {"task": {"httpRequest": {"httpMethod": "PUT", "url": "http://a/"}}}
    assert front.send("POST", TASKS + query, body)[1]["httpRequest"]["httpMethod"] == shown


def test_bytes_are_taken_in_either_alphabet(front: Front) -> None:
    data = bytes(range(256))
    for text in (base64.b64encode(data), base64.urlsafe_b64encode(data), base64.b64encode(data).rstrip(b"=")):
        front.send("POST", TASKS, {"task": {"httpRequest": {"body": text.decode()}}})
        assert front.asked[-1].task.http_request.body == data


def test_parameters_that_every_google_api_takes_are_let_be(front: Front) -> None:
    assert front.send("GET", f"{TASKS}?key=k&quotaUser=u&fields=name&%24.xgafv=2&prettyPrint=true")[0] == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"nope": 1}, 'Invalid JSON payload received. Unknown name "nope": Cannot find field.'),
        ({"task": {"nope": 1}}, "Invalid JSON payload received. Unknown name \"nope\" at 'task': Cannot find field."),
        (b'{"task": nope}', 'Invalid JSON payload received. Unexpected token.\n{"task": nope}\n         ^'),
        ([], "Invalid value at '' (type.googleapis.com/google.cloud.tasks.v2.CreateTaskRequest), []"),
        (
            {"task": {"httpRequest": {"body": "a*b"}}},
            "Invalid value at 'task.http_request.body' (TYPE_BYTES), Base64 decoding failed for \"a*b\"",
        ),
        ({"task": {"name": 5}}, "Invalid value at 'task.name' (TYPE_STRING), 5"),
        (
            {"task": {"httpRequest": {"httpMethod": "FLY"}}},
            "Invalid value at 'task.http_request.http_method' (type.googleapis.com/google.cloud.tasks.v2.HttpMethod), "
            '"FLY"',
        ),
        (
            {"task": {"dispatchDeadline": "1h"}},
            "Invalid value at 'task.dispatch_deadline' (type.googleapis.com/google.protobuf.Duration), "
            "Field 'dispatchDeadline', Illegal duration format; duration must end with 's'",
        ),
        (
            {"task": {"scheduleTime": "soon"}},
            "Invalid value at 'task.schedule_time' (type.googleapis.com/google.protobuf.Timestamp), "
            "Field 'scheduleTime', Invalid time format: Failed to parse input",
        ),
        (
            {"task": {"httpRequest": {}, "appEngineHttpRequest": {}}},
            "Invalid value at 'task' (oneof), oneof field 'message_type' is already set. "
            "Cannot set 'appEngineHttpRequest'",
        ),
    ],
)
def test_a_body_that_is_no_request_is_refused_in_googles_words(body: Any, message: str, front: Front) -> None:
    status, document = front.send("POST", TASKS, body)
    error = document["error"]
    assert (status, error["code"], error["status"], error["message"]) == (400, 400, "INVALID_ARGUMENT", message)
    (detail,) = error["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert detail["fieldViolations"][0]["description"] == message
    assert front.asked == []


@pytest.mark.parametrize("name", ["nope", "parent.name", "page.size"])
def test_an_unknown_query_parameter_is_refused(name: str, front: Front) -> None:
    status, document = front.send("GET", f"{TASKS}?{name}=1")
    assert status == 400
    assert document["error"]["message"] == (
        f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
        f"Field '{name}' could not be found in request message."
    )


def test_numbers_out_of_range_are_refused(front: Front) -> None:
    for value in ("2147483648", "x", "1.5", "true"):
        status, document = front.send("GET", f"{TASKS}?pageSize={value}")
        assert (status, document["error"]["message"]) == (400, f"Invalid value at 'pageSize' (TYPE_INT32), \"{value}\"")


def test_another_encoding_than_json_is_refused(front: Front) -> None:
    assert front.send("GET", f"{TASKS}?alt=proto")[0] == 400


@pytest.mark.parametrize("path", ["/nothing", f"/v2/{QUEUE}/nothing", f"/v3/{QUEUE}"])
def test_what_is_not_there_is_not_found(path: str, front: Front) -> None:
    status, document = front.send("GET", path)
    assert (status, document["error"]["status"]) == (404, "NOT_FOUND")
    assert "GET /headrace/v1/queues" in document["error"]["message"]


def test_a_path_that_is_not_utf_8_is_refused(front: Front) -> None:
    assert front.send("GET", "/v2/projects/%ff/locations/here/queues")[0] == 400


def test_a_method_that_no_service_has_is_unimplemented(front: Front) -> None:
    status, document = front.send("DELETE", f"/v2/{QUEUE}")
    assert (status, document["error"]["status"]) == (501, "UNIMPLEMENTED")
    assert "google.cloud.tasks.v2.CloudTasks/DeleteQueue" in document["error"]["message"]


def test_a_refusal_carries_its_details(front: Front) -> None:
    help_detail = Help()
    help_detail.links.add(description="what", url="https://where")
    front.refusal = ApiError(Code.FAILED_PRECONDITION, "Not now.", help_detail)
    status, document = front.send("GET", TASKS)
    detail = {
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [{"description": "what", "url": "https://where"}],
    }
    assert status == 400
    assert document == {
        "error": {"code": 400, "message": "Not now.", "status": "FAILED_PRECONDITION", "details": [detail]}
    }


def test_every_code_has_its_http_status() -> None:
    statuses = {code.name: error_answer(ApiError(code, "no")).status for code in Code}
    assert statuses["NOT_FOUND"] == 404
    assert statuses["ALREADY_EXISTS"] == statuses["ABORTED"] == 409
    assert statuses["UNAVAILABLE"] == 503
    assert statuses["UNAUTHENTICATED"] == 401


def test_a_mounted_route_gets_variables_headers_and_body(front: Front) -> None:
    status, document = front.send("PUT", "/own/a%20name:echo", b"text", {"x-a": "1"})
    assert (status, document) == (
        200,
        {"name": "a name", "body": "text", "x": "1", "origin": f"http://127.0.0.1:{front.port}"},
    )


@pytest.mark.parametrize(
    "headers", [{"authorization": ""}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}]
)
def test_a_call_without_the_token_is_refused(headers: dict[str, str], front: Front) -> None:
    status, document = front.send("GET", TASKS, headers=headers)
    assert (status, document["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert front.asked == []


def test_a_body_above_the_limit_is_refused(front: Front) -> None:
    status, document = front.send("POST", TASKS, b" " * ((2 << 20) + 1))
    assert (status, document["error"]["message"]) == (400, "Request payload size exceeds the limit: 2097152 bytes.")
    assert front.send("POST", f"{TASKS}:batchCreate", b" " * ((2 << 20) + 1)) == (200, {})


def test_a_head_that_does_not_end_is_cut_off(front: Front) -> None:
    with front.connect() as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(OSError, match=r"reset|pipe|abort"):
            raw.sendall(b"x-a: " + b"a" * 8000 + b"\r\n" + b"x-b: b\r\n" * (16 << 20))


def test_a_head_that_does_not_come_is_not_waited_for(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.05)
    with front.connect() as raw:
        raw.sendall(b"GET /healthz HT")
        assert raw.recv(100) == b""


def test_a_body_that_does_not_come_is_not_waited_for(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "BODY_SECONDS", 0.05)
    with front.connect() as raw, raw.makefile("rb") as answer:
        head = f"POST {TASKS} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 9\r\n\r\n1"
        raw.sendall(head.encode())
        assert answer.readline().startswith(b"HTTP/1.1 504 ")
        assert b"connection: close" in answer.read()


def test_what_is_no_http_is_refused(front: Front) -> None:
    with front.connect() as raw, raw.makefile("rb") as answer:
        raw.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        assert answer.readline().startswith(b"HTTP/1.1 400 ")
