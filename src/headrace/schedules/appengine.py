"""App Engine's schedule grammar, as in `cron.yaml`: `every day 22:00`, `1st,3rd monday of month 09:00`.

    timespec   = every interval | specific
    interval   = number (hours | mins | minutes) [from TIME to TIME | synchronized] [on weekdays]
    specific   = (every | ordinals) weekdays [of months] TIME | numbers of months TIME
    weekdays   = day | monday, mon, tuesday, tue ...
    months     = month | january, jan ... | [ordinals month of] quarter
    ordinals   = 1st, first, 2nd, second ... 5th, fifth

A comma joins the members of a list. Words may be in any case and need no space between them.
The grammar is the one of Google's parser; its verdicts are recorded in `tests/vectors/groc.json`.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import time, timedelta
from enum import Enum
from typing import Final

from headrace.schedules.errors import ScheduleError
from headrace.schedules.rules import (
    ALL_DAYS,
    ALL_MONTHS,
    ALL_ORDINALS,
    ALL_WEEKDAYS,
    DailyRange,
    Interval,
    Rule,
    SpecificTime,
)

_MIDNIGHT: Final = time(0, 0)
_LAST_MINUTE: Final = time(23, 59)
_ONE_DAY: Final = timedelta(days=1)
_LONGEST_NUMBER: Final = 5  # digits, as in Google's lexer
_FIRST_OF_QUARTER: Final = (1, 4, 7, 10)
_MONTH_LENGTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FIRST_HALF: Final = ("january", "february", "march", "april", "may", "june")
_SECOND_HALF: Final = ("july", "august", "september", "october", "november", "december")
_ORDINALS: Final = (
    ("1st", "first"),
    ("2nd", "second"),
    ("3rd", "third"),
    ("4th", "fourth"),
    ("5th", "fifth"),
)


class _Kind(Enum):
    """What a token is; the value is how a message names it."""

    ORDINAL = "an ordinal such as 1st"
    WEEKDAY = "a weekday"
    MONTH_NAME = "a month"
    UNIT = '"minutes" or "hours"'
    TIME = "a time such as 09:30"
    NUMBER = "a number"
    COMMA = "a comma"
    EVERY = '"every"'
    DAY = '"day"'
    FROM = '"from"'
    TO = '"to"'
    ON = '"on"'
    OF = '"of"'
    MONTH = '"month"'
    QUARTER = '"quarter"'
    SYNCHRONIZED = '"synchronized"'
    END = "the end"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str
    position: int
    value: int = 0


def _vocabulary() -> dict[str, tuple[_Kind, int]]:
    plain = ("every", "day", "from", "to", "on", "of", "month", "quarter", "synchronized")
    words = {word: (_Kind[word.upper()], 0) for word in plain}
    words |= {"hours": (_Kind.UNIT, 60), "minutes": (_Kind.UNIT, 1), "mins": (_Kind.UNIT, 1)}
    words |= {",": (_Kind.COMMA, 0)}
    for number, name in enumerate(_WEEKDAYS):
        words |= dict.fromkeys((name, name[:3]), (_Kind.WEEKDAY, number))
    for number, name in enumerate(_FIRST_HALF + _SECOND_HALF, start=1):
        words |= dict.fromkeys((name, name[:3]), (_Kind.MONTH_NAME, number))
    for number, names in enumerate(_ORDINALS, start=1):
        words |= dict.fromkeys(names, (_Kind.ORDINAL, number))
    return words


_WORDS: Final = _vocabulary()
_LONGEST_FIRST: Final = "|".join(sorted(_WORDS, key=len, reverse=True))
_TOKEN: Final = re.compile(rf"(?P<time>\d+:\d+)|(?P<word>{_LONGEST_FIRST})|(?P<number>\d+)", re.ASCII)
_SPACES: Final = re.compile(r"\s*")
_TIME: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_HINTS: Final = {
    "-": "Days are a list: mon,tue,wed.",
    "@": "Write five unix-cron fields, or App Engine's words such as every day 09:00.",
    "second": "The shortest interval is every 1 minutes.",
    "seconds": "The shortest interval is every 1 minutes.",
    "weekday": "Write a list of days: mon,tue,wed,thu,fri.",
    "days": "Write every day 09:00, or every 24 hours.",
}


def parse_appengine(text: str) -> Rule:
    """The rule of a schedule in App Engine's grammar.

    Raises ScheduleError with the character, counted from 1, where the text stops making sense, and for
    dates that no year has (`30 of feb 00:00`).
    """
    return _Parser(_scan(text)).timespec()


def _scan(text: str) -> list[_Token]:
    lowered = text.lower()
    tokens: list[_Token] = []
    position = _skip_spaces(lowered, 0)
    while position < len(lowered):
        match = _TOKEN.match(lowered, position)
        if match is None:
            raise _unknown(lowered, position)
        tokens.append(_token(match))
        position = _skip_spaces(lowered, match.end())
    return [*tokens, _Token(_Kind.END, "", len(text))]


def _skip_spaces(text: str, position: int) -> int:
    match = _SPACES.match(text, position)
    return match.end() if match else position


def _token(match: re.Match[str]) -> _Token:
    text, position = match.group(), match.start()
    if match["word"]:
        kind, value = _WORDS[text]
        return _Token(kind, text, position, value)
    if match["time"]:
        return _Token(_Kind.TIME, text, position)
    if len(text) > _LONGEST_NUMBER:
        raise _refusal(f"the number {text[:20]} is too long", position)
    return _Token(_Kind.NUMBER, text, position, int(text))


def _unknown(text: str, position: int) -> ScheduleError:
    """Names the whole word around `position`: in "sept" the scanner stumbles over the t after sep."""
    around = (match for match in re.finditer(r"[a-z]+|\S", text) if match.end() > position)
    word = next(around)
    near = difflib.get_close_matches(word.group(), _WORDS, n=1)
    hint = _HINTS.get(word.group()) or (f"Did you mean {near[0]}?" if near else "")
    return _refusal(f'"{word.group()}" is not part of a schedule', word.start(), hint)


def _refusal(problem: str, position: int, hint: str = "") -> ScheduleError:
    return ScheduleError(f"{problem[0].upper()}{problem[1:]}, at character {position + 1}.", hint=hint)


class _Parser:
    """Recursive descent, one method a line of the grammar."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def timespec(self) -> Rule:
        rule: Rule
        if self._accept(_Kind.EVERY):
            interval = self._peek() is _Kind.NUMBER
            rule = self._interval() if interval else self._weekdays_at(ALL_ORDINALS, ALL_DAYS)
        elif self._peek() is _Kind.ORDINAL:
            ordinals = self._list(_Kind.ORDINAL)
            rule = self._weekdays_at(ordinals, days=ordinals)
        elif self._peek() is _Kind.NUMBER:
            rule = self._month_days_at()
        else:
            raise self._expected(_Kind.EVERY, _Kind.ORDINAL, _Kind.NUMBER)
        self._take(_Kind.END)
        return rule

    def _interval(self) -> Interval | DailyRange:
        number = self._take(_Kind.NUMBER)
        period = timedelta(minutes=number.value * self._take(_Kind.UNIT).value)
        if not period:
            raise _refusal("the interval must be longer than 0", number.position)
        if self._accept(_Kind.FROM):
            first = self._time()
            self._take(_Kind.TO)
            return DailyRange(period, first, self._time(), self._on(period))
        if self._accept(_Kind.SYNCHRONIZED):
            if _ONE_DAY % period:
                raise _refusal("a synchronized interval must divide 24 hours", number.position)
            return DailyRange(period, _MIDNIGHT, _LAST_MINUTE, self._on(period))
        return Interval(period, self._on(period))

    def _on(self, period: timedelta) -> frozenset[int]:
        start = self._tokens[self._next].position
        if not self._accept(_Kind.ON):
            return ALL_WEEKDAYS
        weekdays = self._weekdays()
        if weekdays != ALL_WEEKDAYS and period > _ONE_DAY:
            raise _refusal("weekdays need an interval of at most 24 hours", start)
        return weekdays

    def _weekdays_at(self, ordinals: frozenset[int], days: frozenset[int]) -> SpecificTime:
        """`days` are the days of the month that the word "day" stands for: the 2nd day is no weekday."""
        if self._accept(_Kind.DAY):
            return SpecificTime(months=self._of_months(), days=days, at=self._time())
        weekdays = self._weekdays()
        return SpecificTime(months=self._of_months(), weekdays=weekdays, ordinals=ordinals, at=self._time())

    def _month_days_at(self) -> SpecificTime:
        start = self._tokens[self._next].position
        days = self._list(_Kind.NUMBER)
        if not days <= ALL_DAYS:
            raise _refusal("a day of the month is 1 to 31", start)
        self._take(_Kind.OF)
        months = self._months()
        if min(days) > max(_MONTH_LENGTHS[month - 1] for month in months):
            raise _refusal(f"no chosen month has a day {min(days)}", start)
        return SpecificTime(months=months, days=days, at=self._time())

    def _weekdays(self) -> frozenset[int]:
        if self._accept(_Kind.DAY):
            return ALL_WEEKDAYS
        if self._peek() is not _Kind.WEEKDAY:
            raise self._expected(_Kind.DAY, _Kind.WEEKDAY)
        return self._list(_Kind.WEEKDAY)

    def _of_months(self) -> frozenset[int]:
        return self._months() if self._accept(_Kind.OF) else ALL_MONTHS

    def _months(self) -> frozenset[int]:
        parse: dict[_Kind, Callable[[], frozenset[int]]] = {
            _Kind.MONTH: self._every_month,
            _Kind.MONTH_NAME: lambda: self._list(_Kind.MONTH_NAME),
            _Kind.QUARTER: self._months_of_quarter,
            _Kind.ORDINAL: self._months_of_quarter,
        }
        if self._peek() not in parse:
            raise self._expected(*parse)
        return parse[self._peek()]()

    def _every_month(self) -> frozenset[int]:
        self._take(_Kind.MONTH)
        return ALL_MONTHS

    def _months_of_quarter(self) -> frozenset[int]:
        ordinals, start = frozenset({1}), self._tokens[self._next].position
        if self._peek() is _Kind.ORDINAL:
            ordinals = self._list(_Kind.ORDINAL)
            self._take(_Kind.MONTH)
            self._take(_Kind.OF)
        self._take(_Kind.QUARTER)
        if max(ordinals) > 3:
            raise _refusal("a quarter has three months", start)
        return frozenset(first + ordinal - 1 for first in _FIRST_OF_QUARTER for ordinal in ordinals)

    def _time(self) -> time:
        token = self._take(_Kind.TIME)
        match = _TIME.fullmatch(token.text)
        if match is None:
            raise _refusal(f"{token.text} is no time of day: 0:00 to 23:59", token.position)
        return time(int(match[1]), int(match[2]))

    def _list(self, kind: _Kind) -> frozenset[int]:
        members = {self._take(kind).value}
        while self._accept(_Kind.COMMA):
            members.add(self._take(kind).value)
        return frozenset(members)

    def _peek(self) -> _Kind:
        return self._tokens[self._next].kind

    def _accept(self, kind: _Kind) -> bool:
        if self._peek() is not kind:
            return False
        self._next += 1
        return True

    def _take(self, kind: _Kind) -> _Token:
        token = self._tokens[self._next]
        if token.kind is not kind:
            raise self._expected(kind)
        self._next += 1
        return token

    def _expected(self, *kinds: _Kind) -> ScheduleError:
        token = self._tokens[self._next]
        wanted = " or ".join(kind.value for kind in kinds)
        found = f'"{token.text}"' if token.text else "the end of the schedule"
        return _refusal(f"expected {wanted}, found {found}", token.position, _HINTS.get(token.text, ""))
