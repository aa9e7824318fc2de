"""Filters of lists, as ListQueuesRequest.filter has them: `state: PAUSED`, `rate_limits.max_burst_size >= 10`.

    filter       clauses, all of which must hold; AND may stand between them
    clause       terms joined by OR, which binds closer than AND
    term         NOT or - before a term; a filter in parentheses; a comparison
    comparison   field operator value; the operators are = != < <= > >= and : (has)

This is the core of Cloud Logging's language, which the reference refers to. A field is a path of single fields,
snake_case or lowerCamelCase. Text is compared without regard to case, and `:` finds a part of it; `field:*` asks
whether the field is set. Durations are written as `10s`, times in quotes as in RFC 3339.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from headrace.cloud.descriptors import Message, message_class
from headrace.cloud.errors import ApiError, invalid

Predicate: TypeAlias = Callable[[Message], bool]

MAX_LENGTH = 2000
MAX_DEPTH = 20
"""Parentheses inside parentheses."""

_TOKEN = re.compile(r'\s*(?:(<=|>=|!=|[()=<>:])|("(?:[^"\\]|\\.)*")|([^\s()<>=!:"]+))')
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MESSAGE_TYPE, _STRING, _BOOL, _ENUM = 11, 9, 8, 14
_Duration = message_class("google.protobuf.Duration")
_Timestamp = message_class("google.protobuf.Timestamp")
_SPANS = {"google.protobuf.Duration": _Duration, "google.protobuf.Timestamp": _Timestamp}


def parse_filter(text: str, descriptor: Any) -> Predicate:
    """What tells whether a message of `descriptor` passes the filter; an empty filter lets all pass.

    ApiError when the filter is not one, or names what the message does not have.
    """
    if len(text) > MAX_LENGTH:
        raise _bad(f"It is longer than {MAX_LENGTH} characters")
    tokens = _split(text)
    if not tokens:
        return lambda _message: True
    parser = _Parser(tokens, descriptor)
    predicate = parser.read_filter(0)
    if parser.peek() is not None:
        raise _bad(f"{parser.peek()} does not belong there")
    return predicate


def _split(text: str) -> list[str]:
    tokens, end = [], 0
    while text[end:].strip():
        match = _TOKEN.match(text, end)
        if match is None:
            raise _bad(f"{text[end:].strip()[:20]} cannot be read")
        tokens.append(match[0].strip())
        end = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[str], descriptor: Any) -> None:
        self._tokens = tokens
        self._descriptor = descriptor
        self._next = 0

    def peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> str:
        token = self.peek()
        if token is None:
            raise _bad("It ends too early")
        self._next += 1
        return token

    def _skip(self, word: str) -> bool:
        if self.peek() != word:
            return False
        self._next += 1
        return True

    def read_filter(self, depth: int) -> Predicate:
        if depth > MAX_DEPTH:
            raise _bad("Its parentheses go too deep")
        clauses = [self._read_clause(depth)]
        while self.peek() not in (None, ")"):
            self._skip("AND")
            clauses.append(self._read_clause(depth))
        return lambda message: all(clause(message) for clause in clauses)

    def _read_clause(self, depth: int) -> Predicate:
        terms = [self._read_term(depth)]
        while self._skip("OR"):
            terms.append(self._read_term(depth))
        return lambda message: any(term(message) for term in terms)

    def _read_term(self, depth: int) -> Predicate:
        negated = False
        while self._skip("NOT"):
            negated = not negated
        word = self._take()
        if word.startswith("-"):
            negated = not negated
            word = word[1:] or self._take()
        if word == "(":
            term = self.read_filter(depth + 1)
            if not self._skip(")"):
                raise _bad("A parenthesis is not closed")
        else:
            term = _compare(self._descriptor, word, self._take(), self._take())
        return (lambda message: not term(message)) if negated else term


def _compare(descriptor: Any, path: str, sign: str, value: str) -> Predicate:
    fields = _find(descriptor, path)
    if sign == ":" and value == "*":
        return lambda message: _read(message, fields) is not None
    if sign != ":" and sign not in _OPERATORS:
        raise _bad(f"{sign} is no operator")
    value = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
    wanted = _operand(fields[-1], path, value)
    if sign == ":" and isinstance(wanted, str):
        return lambda message: wanted in (_read(message, fields) or "")
    hold = operator.eq if sign == ":" else _OPERATORS[sign]

    def compare(message: Message) -> bool:
        found = _read(message, fields)
        return sign == "!=" if found is None else hold(found, wanted)

    return compare


def _find(descriptor: Any, path: str) -> list[Any]:
    """The fields of a path, from the message inwards."""
    fields: list[Any] = []
    for name in path.split("."):
        known = None if descriptor is None else descriptor.fields_by_name.get(name)
        if known is None and descriptor is not None:
            known = descriptor.fields_by_camelcase_name.get(name)
        if known is None or known.is_repeated:
            raise _bad(f"{path} is no field that can be compared")
        fields.append(known)
        descriptor = known.message_type
    return fields


def _operand(field: Any, path: str, value: str) -> str | float | bool:
    """The value as `_read` gives those of the field."""
    try:
        if field.type in (_STRING, _ENUM):
            return value.lower()
        if field.type == _BOOL:
            return {"true": True, "false": False}[value.lower()]
        if field.type != _MESSAGE_TYPE:
            return float(value)
        span = _SPANS[field.message_type.full_name]()
        span.FromJsonString(value)
    except (ValueError, KeyError) as error:
        raise _bad(f"{path} cannot be compared with {value}") from error
    return _seconds(span)


def _read(message: Message, fields: list[Any]) -> Any:
    """The value at a path: text in lower case, spans in seconds; None when it is not set."""
    for field in fields:
        if field.has_presence and not message.HasField(field.name):
            return None
        message = getattr(message, field.name)
    last = fields[-1]
    if last.type == _ENUM:
        named = last.enum_type.values_by_number.get(message)
        return str(message) if named is None else named.name.lower()
    if last.type == _STRING:
        return message.lower()
    if last.type == _MESSAGE_TYPE:
        return _seconds(message) if last.message_type.full_name in _SPANS else True
    return message


def _seconds(span: Message) -> float:
    seconds: float = span.seconds + span.nanos / 1e9
    return seconds


def _bad(why: str) -> ApiError:
    return invalid(f"Invalid filter. {why}.")
