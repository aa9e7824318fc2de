"""Protobuf classes of the APIs that this server speaks, made at run time.

They come from descriptors that are shipped as data and live in a pool of their own. So the server starts
without the client libraries, pays nothing for proto-plus, and a process that has both (a test) has no conflict.
`tools/cloud_descriptors.py` writes the data file.
"""

from importlib import resources
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message: TypeAlias = Any
"""An instance of one of these classes; they are made at run time, so no type says more."""


def _load_pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    data = resources.files(__package__).joinpath("descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


POOL = _load_pool()
"""All of them; what packs or unpacks an Any needs it."""


def message_class(full_name: str) -> Any:
    """The class of a message, by its full name."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(full_name))


def enum_numbers(full_name: str) -> dict[str, int]:
    """The values of an enum by name, without the unspecified one, whose number is 0."""
    return {value.name: value.number for value in POOL.FindEnumTypeByName(full_name).values if value.number}


def set_time(message: Message, seconds: float) -> None:
    """Fill a Timestamp, or a Duration, to the microsecond."""
    # Only the fraction is scaled: a float of today's seconds, times a million, is no longer exact.
    whole = int(seconds)
    carry, micros = divmod(round((seconds - whole) * 1_000_000), 1_000_000)
    message.seconds = whole + carry
    message.nanos = micros * 1000


Empty = message_class("google.protobuf.Empty")
Operation = message_class("google.longrunning.Operation")
Status = message_class("google.rpc.Status")
Help = message_class("google.rpc.Help")
ErrorInfo = message_class("google.rpc.ErrorInfo")
