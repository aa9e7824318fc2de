"""What a front puts on the wire: services, each a set of methods by name.

A method takes a request message and gives an answer message, or raises ApiError. No method knows gRPC or HTTP.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from headrace.cloud.descriptors import Message

Method: TypeAlias = Callable[[Message], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method of a service: the class of its request, and what answers it."""

    request_class: Any
    answer: Method


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service: its full name, as `google.cloud.tasks.v2.CloudTasks`, and its methods."""

    name: str
    rpcs: Mapping[str, Rpc]
