"""App Engine routing: between messages and the engine."""

import re

from headrace.cloud.descriptors import Message
from headrace.cloud.errors import invalid
from headrace.cloud.names import project_of
from headrace.engine.model import AppEngineRouting

_PART = re.compile(r"[A-Za-z0-9\-]{0,100}")


def read_routing(message: Message) -> AppEngineRouting:
    """Check an AppEngineRouting message; ApiError says what is wrong. Its host is output only, and passed over."""
    for part in ("service", "version", "instance"):
        if not _PART.fullmatch(getattr(message, part)):
            raise invalid(f"AppEngineRouting.{part} can contain only letters, numbers and hyphens.")
    return AppEngineRouting(message.service, message.version, message.instance)


def fill_routing(message: Message, routing: AppEngineRouting, name: str) -> None:
    """Fill an AppEngineRouting message; `name` is that of any resource of the application's project.

    The host is `[instance.][version.][service.]PROJECT.appspot.com`. Real hosts may have the region's code before
    `appspot.com`; this server has no region.
    """
    message.service = routing.service
    message.version = routing.version
    message.instance = routing.instance
    parts = (routing.instance, routing.version, routing.service, project_of(name))
    message.host = ".".join([*filter(None, parts), "appspot.com"])
