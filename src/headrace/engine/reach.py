"""What pushes may reach: rules on hosts and on the addresses that they resolve to. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from headrace.engine.address import literal_address, parse_address, split_authority
from headrace.engine.errors import TargetUnreachable

_CARRIES_IPV4 = (ip_network("64:ff9b::/96"), ip_network("2002::/16"), ip_network("2001::/32"))
"""Blocks whose addresses lead to an IPv4 address that they carry: NAT64, 6to4, Teredo."""


@dataclass(frozen=True, slots=True)
class TargetRule:
    """One thing that pushes may reach: a network, a host by its name, or hosts by a pattern.

    `host` is a name or `*.domain` or `*`, "" for a rule on `network`. No port: all ports.
    """

    host: str
    network: IPv4Network | IPv6Network | None
    port: int | None

    def names(self, host: str) -> bool:
        """Whether the rule is about this host, by its name."""
        if self.host.startswith("*"):
            return host.endswith(self.host[1:])
        return bool(self.host) and host == self.host

    def covers(self, host: str, address: IPv4Address | IPv6Address) -> bool:
        """Whether a connection to `address`, one of the addresses of `host`, is allowed.

        A name that is written out covers whatever it resolves to. A pattern covers public addresses alone: who
        may choose a name in a domain must not thereby choose an address inside.
        """
        if self.network is not None:
            return address in self.network
        return self.names(host) and (not self.host.startswith("*") or _is_public(address))


@dataclass(frozen=True, slots=True)
class TargetRules:
    """The rules together: what one of them allows is allowed."""

    rules: tuple[TargetRule, ...]

    def may_name(self, host: str, port: int) -> bool:
        """Whether a task may name this host. One that only its addresses can decide may: the push decides."""
        address = _address_of(host)
        if address is not None:
            return self.allows(host, port, str(address))
        return any(rule.names(host.lower()) or rule.network is not None for rule in self._rules_for(port))

    def may_aim(self, url: str) -> bool:
        """Whether a request may go to this URL, as `may_name` has it; what is no URL reaches nothing, and may."""
        try:
            origin = parse_address(url).origin
        except TargetUnreachable:
            return True
        return self.may_name(origin.host, origin.port)

    def allows(self, host: str, port: int, address: str) -> bool:
        """Whether a push to `host` may connect to `address`, one of its addresses."""
        found = _address_of(address)
        return found is not None and any(rule.covers(host.lower(), found) for rule in self._rules_for(port))

    def _rules_for(self, port: int) -> list[TargetRule]:
        return [rule for rule in self.rules if rule.port in (None, port)]


PUBLIC_ONLY = TargetRules((TargetRule("*", None, None),))
"""Every public address, and no other."""


def parse_rule(text: str) -> TargetRule:
    """Read HOST, *.DOMAIN or an address, each with :PORT or without, or a CIDR block. Raises ValueError."""
    try:
        return TargetRule("", ip_network(text), None)
    except ValueError:
        host, port = split_authority(text)
    try:
        return TargetRule("", ip_network(host), port)
    except ValueError:
        rest = host.removeprefix("*")
        if not host or "*" in rest or "/" in rest or (rest != host and rest[:1] not in ("", ".")):
            raise ValueError(f"{text!r} is not a host, *.domain, address or CIDR block.") from None
        return TargetRule(host.lower(), None, port)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in block for block in _CARRIES_IPV4)


def _address_of(text: str) -> IPv4Address | IPv6Address | None:
    address = literal_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
