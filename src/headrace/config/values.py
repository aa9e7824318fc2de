"""Kinds of values in queue.yaml and cron.yaml: each a function from what YAML holds to what it means.

All raise marshmallow's ValidationError with what is wrong, to be read after the key: "must be ...".
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from marshmallow import ValidationError

# As long as Google keeps a task of a queue.yaml queue (its taskTtl): ten years. Nothing may wait longer.
LONGEST_SECONDS: Final = 315_360_000

MAX_RATE: Final = 500  # a second

DEFAULT_MIN_BACKOFF: Final = 0.1
DEFAULT_MAX_BACKOFF: Final = 3600.0
DEFAULT_MAX_DOUBLINGS: Final = 16

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNIT_BYTES: Final = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{0,9})?)([smhd])")
_RATE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?)/([smhd])")
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?)([BKMGT]?)")
_WHOLE: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")


def sentence(value: object) -> str:
    """Text; no number can be meant."""
    if not isinstance(value, str):
        raise ValidationError("must be text")
    return value


def text(value: object) -> str:
    """Text, or a whole number as its digits (`target: 20260101`)."""
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise ValidationError("must be text; put it in quotes")
    return value


def matching(pattern: str, message: str) -> Callable[[object], str]:
    """Text that the whole of `pattern` matches."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(value: object) -> str:
        found = text(value)
        if not compiled.fullmatch(found):
            raise ValidationError(message)
        return found

    return parse


def shorter_than(length: int) -> Callable[[object], str]:
    """Text of fewer characters than `length`."""

    def parse(value: object) -> str:
        found = text(value)
        if len(found) >= length:
            raise ValidationError(f"must be shorter than {length} characters, is {len(found)}")
        return found

    return parse


def whole(least: int, most: int) -> Callable[[object], int]:
    """A whole number in these bounds, also in quotes."""

    def parse(value: object) -> int:
        if type(value) is not int and not (isinstance(value, str) and _WHOLE.fullmatch(value)):
            raise ValidationError("must be a whole number")
        found = int(value)
        if not least <= found <= most:
            raise ValidationError(f"must be {least} to {most}, is {found}")
        return found

    return parse


def seconds(value: object) -> float:
    """A number of seconds, 0 up to ten years, also in quotes."""
    try:
        found = float(value) if isinstance(value, int | float | str) and type(value) is not bool else math.nan
    except ValueError as error:
        raise ValidationError("must be a number of seconds") from error
    if not 0 <= found <= LONGEST_SECONDS:
        raise ValidationError(f"must be 0 to {LONGEST_SECONDS} seconds")
    return found


def duration(value: object) -> int:
    """`5m`, `3.5d`: a number and s, m, h or d; whole seconds, more than 0, up to ten years."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValidationError("must be a number followed by s, m, h or d, such as 5m")
    exact = Decimal(match[1]) * _UNIT_SECONDS[match[2]]
    if not 0 < exact <= LONGEST_SECONDS or exact != int(exact):
        raise ValidationError("must be whole seconds, longer than 0s and at most 3650d")
    return int(exact)


def rate(value: object) -> float:
    """`10/m`: tasks a second, at most 500, rounded to 9 digits as Google does; 0/s pushes none."""
    if type(value) is int and value >= 0:
        raise ValidationError(f"needs a unit: {value}/s, {value}/m, {value}/h or {value}/d")
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValidationError("must be a number, a slash and s, m, h or d, such as 10/m")
    exact = Decimal(match[1]) / _UNIT_SECONDS[match[2]]
    rounded = round(float(exact), 9)
    if exact > MAX_RATE:
        raise ValidationError(f"must be at most {MAX_RATE}/s")
    if exact and not rounded:
        raise ValidationError("is too low: less than one task in 30 years; 0/s means none at all")
    return rounded


def size(value: object) -> int:
    """`120M`: bytes; the units B, K, M, G, T are powers of 1024."""
    match = _SIZE.fullmatch(str(value)) if type(value) in {int, float, str} else None
    if match is None:
        raise ValidationError("must be a size such as 120M or 2.5G")
    return int(Decimal(match[1]) * _UNIT_BYTES[match[2]])


def flag(value: object) -> bool:
    """True or False, also in quotes."""
    if str(value) not in {"True", "False"}:
        raise ValidationError("must be True or False")
    return str(value) == "True"


def order_backoff(least: float | None, most: float | None) -> tuple[float, float]:
    """The two back-offs with Google's defaults; 0 is the default, too.

    When one alone is given, the other is set equal to it if its default would be on the wrong side.
    """
    if least and most and least > most:
        raise ValidationError("must not be more than max_backoff_seconds", "min_backoff_seconds")
    least = least or min(DEFAULT_MIN_BACKOFF, most or DEFAULT_MAX_BACKOFF)
    return least, most or max(DEFAULT_MAX_BACKOFF, least)
