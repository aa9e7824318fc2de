"""What a task's target means in its queue: overrides of URLs, headers, methods and tokens."""

import pytest

from headrace.engine.model import (
    AppEngineRouting,
    AppEngineTarget,
    AppEngineUrls,
    HttpOverrides,
    HttpTarget,
    OAuthToken,
    OidcToken,
    UriOverride,
)
from headrace.engine.target import aim, override, override_url

NOTHING = UriOverride(None, None, None, None, None, only_if_missing=False)
TARGET = HttpTarget("http://h/p", "POST", (("X-A", "own"), ("X-B", "own")), b"body", OidcToken("own@x", ""))


def uri(**parts: object) -> UriOverride:
    fields = {"scheme": None, "host": None, "port": None, "path": None, "query": None, "only_if_missing": False}
    return UriOverride(**(fields | parts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "parts", "expected"),
    [
        ("http://h:1/p?q", {}, "http://h:1/p?q"),
        ("http://h:1/p?q", {"scheme": "https"}, "https://h:1/p?q"),
        ("http://h:1/p?q", {"host": "other"}, "http://other:1/p?q"),
        ("http://[::1]:1/p", {"port": 2}, "http://[::1]:2/p"),
        ("http://h/p", {"port": 2}, "http://h:2/p"),
        ("http://h:1/p", {"port": 0}, "http://h/p"),
        ("http://h/p?q", {"path": "/other"}, "http://h/other?q"),
        ("http://h/p?q", {"path": "other"}, "http://h/other?q"),
        ("http://h/p?q", {"path": ""}, "http://h?q"),
        ("http://h/p?q", {"query": "r=1"}, "http://h/p?r=1"),
        ("http://h/p?q", {"query": ""}, "http://h/p"),
        ("http://user@h/p", {"host": "other"}, "http://other/p"),
        (
            "http://h/p",
            {"scheme": "https", "host": "o", "port": 8443, "path": "/x", "query": "y"},
            "https://o:8443/x?y",
        ),
    ],
)
def test_parts_that_are_given_replace_those_of_the_task(url: str, parts: dict[str, object], expected: str) -> None:
    assert override_url(url, uri(**parts)) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:1/p?q", "http://h:1/p?q"),
        ("http://h", "http://h:2/x?y"),
        ("http://h/", "http://h:2/x?y"),
        ("http://h/p", "http://h:2/p?y"),
    ],
)
def test_only_missing_parts_are_put_in_where_the_queue_says_so(url: str, expected: str) -> None:
    parts = uri(scheme="https", host="o", port=2, path="/x", query="y", only_if_missing=True)
    assert override_url(url, parts) == expected


def test_headers_method_and_token_of_the_queue_win() -> None:
    token = OAuthToken("queue@x", "scope")
    over = HttpOverrides(NOTHING, "PUT", (("x-a", "queue's"), ("X-C", "new")), token)
    headers = (("X-B", "own"), ("x-a", "queue's"), ("X-C", "new"))
    assert override(TARGET, over) == HttpTarget("http://h/p", "PUT", headers, b"body", token)


def test_what_the_queue_does_not_say_stays_the_tasks_own() -> None:
    assert override(TARGET, HttpOverrides(None, None, (), None)) == TARGET


def test_app_engine_targets_know_nothing_of_http_overrides() -> None:
    target = AppEngineTarget("/p", "POST", (), b"", AppEngineRouting("worker", "2", ""))
    over = HttpOverrides(uri(host="other"), "PUT", (), None)
    urls = AppEngineUrls("http://all/", (("worker", "http://worker"), ("2.worker", "http://second/base/")))
    assert aim(target, over, None, urls) == HttpTarget("http://second/base/p", "POST", (), b"", None)
    routed = aim(target, over, AppEngineRouting("worker", "", ""), urls)
    assert routed.url == "http://worker/p"
    assert aim(target, over, AppEngineRouting("", "", ""), urls).url == "http://all/p"
