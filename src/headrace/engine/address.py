"""A URL taken apart into what a connection and a request line need."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from headrace.engine.errors import TargetUnreachable

# Everything a URL may hold stays as it was given, bad escapes too: Cloud Tasks accepts them.
_KEPT = "%/:?@!$&'()*+,;=~-._[]"
_HOST = re.compile(r"[^\x00-\x20\x7f/?#@\\]+")


class Origin(NamedTuple):
    """Where connections go; they are kept and shared by origin."""

    tls: bool
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Address:
    """`host` is the value of the Host header, `path` the target of the request line, with its query."""

    origin: Origin
    host: str
    path: str


def split_authority(text: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]` or `[v6]:port` as host and port. Raises ValueError."""
    parts = urlsplit(f"//{text}")
    if parts.path or parts.query or parts.fragment or "@" in text:
        raise ValueError(f"{text!r} is not a host with or without a port.")
    return parts.hostname or "", parts.port


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine. A name that needs a look-up does not."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = literal_address(host)
    return address is not None and address.is_loopback


def parse_address(url: str) -> Address:
    """Take an http or https URL apart. Raises TargetUnreachable for anything else."""
    try:
        parts = urlsplit(url)
        tls = {"http": False, "https": True}[parts.scheme.lower()]
        name = parts.hostname or ""
        host = name.encode("idna").decode("ascii")
        port = parts.port
    except (KeyError, ValueError) as error:
        raise TargetUnreachable(f"{url!r} is not an http or https URL.") from error
    if not _HOST.fullmatch(host):
        raise TargetUnreachable(f"{url!r} names no host.")
    shown = f"[{host}]" if ":" in host else host
    usual = 443 if tls else 80
    path = quote(parts.path or "/", safe=_KEPT)
    if parts.query:
        path += "?" + quote(parts.query, safe=_KEPT)
    authority = shown if port in (None, usual) else f"{shown}:{port}"
    return Address(Origin(tls, host, usual if port is None else port), authority, path)
