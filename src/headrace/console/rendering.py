"""Templates to HTML: one environment for all pages, which escapes everything."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

STATIC = Path(__file__).parent / "static"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")
_PERIODS = (("s", 1), ("m", 60), ("h", 3_600))
_PAYLOAD_SHOWN = 64 * 1024
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


class Renderer:
    """Renders pages. `base` is where the console is mounted, such as /console."""

    def __init__(self, base: str) -> None:
        self._environment = Environment(
            loader=PackageLoader("headrace.console"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {"base": base, "asset": lambda name: f"{base}/static/{name}?{version_of(name)}"}
        self._environment.filters |= {
            "number": show_number,
            "share": show_share,
            "duration": show_duration,
            "ago": show_ago,
            "clock": show_clock,
            "plain": show_plain,
            "short": lambda text: text if len(text) <= 12 else text[:8],
            "took": show_took,
            "precise": show_precise,
            "rate": show_rate,
            "payload": show_payload,
            "points": draw_points,
            "last": lambda path: str(path).rpartition(".")[2],
        }

    def provide(self, name: str, function: Callable[..., Any]) -> None:
        """Have every template, and what it imports, know a function."""
        self._environment.globals[name] = function

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """A page or a part of one."""
        return self._environment.get_template(template).render(values)


@cache
def version_of(name: str) -> str:
    """A word that changes when a static file does, so that browsers may keep it for good."""
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def show_number(value: float | None) -> str:
    """A count with thin groups; nothing for None."""
    return "" if value is None else f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def show_precise(value: float) -> str:
    """A limit without what no digit is needed for: 10, 0.1, 0.0167."""
    return f"{value:.12g}"


def show_rate(per_second: float) -> str:
    """How often in the unit that reads best, as queue.yaml has it: 5/s, 1/m, 0.5/h."""
    unit, size = next((each for each in _PERIODS if per_second * each[1] >= 1), _PERIODS[-1])
    return f"{per_second * size:.6g}/{unit}"


def draw_points(values: Sequence[float], top: float) -> str:
    """The points of a line through values, one a unit, in a picture 20 high; `top` is the value at its upper edge.

    Where a value stays, only where it begins and ends is drawn.
    """
    last = len(values) - 1
    return " ".join(
        f"{at},{19.5 - 19 * value / top:.3g}"
        for at, value in enumerate(values)
        if at in (0, last) or not values[at - 1] == value == values[at + 1]
    )


def show_payload(body: bytes) -> str:
    """A body as text: JSON laid out, else what it says in UTF-8, else how large it is. Long ones are cut short."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"{len(body):,} bytes that are no text"
    if len(body) <= _PAYLOAD_SHOWN:
        with suppress(orjson.JSONDecodeError):
            text = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    if len(text) > _PAYLOAD_SHOWN:
        return f"{text[:_PAYLOAD_SHOWN]}\n({len(body):,} bytes; the rest is not shown)"
    return text


def show_share(value: float | None) -> str:
    """A share of 1 as per cent; 100 % only when all of it is there."""
    if value is None:
        return ""
    return f"{100 * value:.0f} %" if value in (0, 1) else f"{min(99.9, 100 * value):.1f} %"


def show_duration(seconds: float | None) -> str:
    """Seconds in words of two units at most: 250 ms, 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    parts, left = [], round(seconds)
    for size, unit in (*_UNITS, (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def show_ago(at: str | None, now: float) -> str:
    """How long ago an RFC 3339 time was, or how far it is ahead."""
    if at is None:
        return ""
    passed = now - datetime.fromisoformat(at).timestamp()
    return f"{show_duration(passed)} ago" if passed >= 0 else f"in {show_duration(-passed)}"


def show_clock(at: str | None) -> str:
    """An RFC 3339 time as people read it: 2026-11-22 14:05:09."""
    return "" if at is None else at[:19].replace("T", " ")


def show_plain(text: str) -> str:
    """A sentence with its RFC 3339 times as people read them, to the second."""
    return _TIME.sub(r"\1 \2 UTC", text)


def show_took(lasting: Mapping[str, Any], now: float) -> str:
    """How long something took, or has taken so far: what has `started_at` and `ended_at`."""
    if lasting["started_at"] is None:
        return ""
    end = datetime.fromisoformat(lasting["ended_at"]).timestamp() if lasting["ended_at"] else now
    return show_duration(max(0.0, end - datetime.fromisoformat(lasting["started_at"]).timestamp()))
