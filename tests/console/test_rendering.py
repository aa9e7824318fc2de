"""How values are shown."""

import pytest

from headrace.console.ids import LARGEST, read_id
from headrace.console.limits import AMOUNTS, COUNTS, read_limits
from headrace.console.rendering import draw_points, show_payload, show_plain, show_rate
from headrace.drivers.queues import hide_secrets
from headrace.errors import BadRequest


@pytest.mark.parametrize(
    ("per_second", "shown"), [(500, "500/s"), (1.5, "1.5/s"), (1 / 60, "1/m"), (0.5, "30/m"), (1 / 7200, "0.5/h")]
)
def test_a_rate_is_shown_in_the_unit_that_reads_best(per_second: float, shown: str) -> None:
    assert show_rate(per_second) == shown


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"[1,2]", "[\n  1,\n  2\n]"),
        (b"a=1&b=2", "a=1&b=2"),
        (b"\xff\xfe", "2 bytes that are no text"),
        (b'"' + b"x" * 70_000 + b'"', None),
    ],
)
def test_a_payload_is_shown_as_text_and_not_without_end(body: bytes, shown: str | None) -> None:
    text = show_payload(body)
    assert text == shown if shown is not None else text.endswith("(70,002 bytes; the rest is not shown)")


def test_a_line_is_drawn_through_what_changes_alone() -> None:
    assert draw_points([0, 0, 0, 4, 2, 2], 4) == "0,19.5 2,19.5 3,0.5 4,10 5,10"


def test_limits_of_a_form_are_numbers() -> None:
    form = dict.fromkeys((*COUNTS, *AMOUNTS), "3")
    assert read_limits(form | {"rate_per_second": "0.5"})["rate_per_second"] == 0.5
    for name, text in (("bucket_size", "1.5"), ("bucket_size", "inf"), ("max_backoff", ""), ("max_attempts", "nan")):
        with pytest.raises(BadRequest, match=name):
            read_limits(form | {name: text})


def test_times_within_a_sentence_are_shown_as_people_read_them() -> None:
    assert show_plain("no token until 2026-11-29T07:27:10.089025Z") == "no token until 2026-11-29 07:27:10 UTC"
    assert show_plain("queue paused") == "queue paused"


def test_headers_that_may_carry_a_secret_have_no_value() -> None:
    sent = {
        "Authorization": "Bearer a",
        "X-Api-Key": "b",
        "x-goog-iap-jwt-assertion": "c",
        "Cookie": "d",
        "Accept": "e",
    }
    assert set(hide_secrets(sent).values()) == {"(hidden)", "e"}
    assert hide_secrets(sent).keys() == sent.keys()


@pytest.mark.parametrize(
    ("text", "read"),
    [("7", 7), ("9" * 5_000, LARGEST), (str(LARGEST + 1), LARGEST), ("٣", None), ("-1", None), ("", None)],
)
def test_an_id_of_an_address_is_one_that_a_database_can_look_for(text: str, read: int | None) -> None:
    assert read_id(text) == read


def test_of_a_form_of_limits_what_was_changed_counts_alone() -> None:
    shown = {
        "rate_per_second": "5",
        "bucket_size": "7",
        **dict.fromkeys(AMOUNTS[1:], "1"),
        **dict.fromkeys(COUNTS[1:], "1"),
    }
    form = {**shown, **{f"was_{name}": value for name, value in shown.items()}}
    assert read_limits(form) == {}
    assert read_limits({**form, "rate_per_second": "2.5"}) == {"rate_per_second": 2.5}
