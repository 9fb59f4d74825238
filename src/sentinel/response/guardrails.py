"""What must never be blocked, and the one canonical spelling of addresses and networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

import msgspec

__all__ = ["GuardRails", "Network", "normalise", "protected", "spelling"]

Network = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")
WIDEST_PREFIX = {4: 8, 6: 32}

# The special-purpose ranges of RFC 6890. Private and documentation ranges are absent on purpose: attackers inside a
# company have private addresses.
_NEVER: tuple[tuple[str, tuple[Network, ...]], ...] = (
    ("loopback", (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))),
    ("unspecified", (IPv4Network("0.0.0.0/32"), IPv6Network("::/128"))),
    ("multicast", (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8"))),
    ("link-local", (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))),
    ("broadcast", (IPv4Network("255.255.255.255/32"),)),
)


class GuardRails(msgspec.Struct, frozen=True, kw_only=True):
    """Whom and what the operator protects."""

    allow_list: tuple[Network, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    own_addresses: tuple[Network, ...] = ()
    protected_users: frozenset[str] = frozenset()


def normalise(text: str) -> Network:
    """
    Return the network that an address or CIDR means; a single address is a /32 or /128.

    Host bits are cleared, and IPv4 inside IPv6 (`::ffff:203.0.113.9`) becomes IPv4.

    Raises:
        ValueError: It is neither; the message says how to write one and does not repeat the text.
    """
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            "not an IP address or network; write it like 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32"
        ) from None
    if "%" in text:
        raise ValueError("an address with a zone means something on one machine only; leave out the % and what follows")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        inner = IPv4Address(int(network.network_address) & 0xFFFF_FFFF)
        return IPv4Network((inner, network.prefixlen - 96))
    return network


def spelling(network: Network) -> str:
    """Return `203.0.113.9` for a single address, `203.0.113.0/24` for a network (RFC 5952 for IPv6)."""
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)


def protected(network: Network, rails: GuardRails) -> str | None:
    """
    Return why this target must not be acted on, or None when it may be.

    A network is refused if any part of it is protected, so a wide block cannot take a proxy or localhost with it.
    """
    widest = WIDEST_PREFIX[network.version]
    if network.prefixlen < widest:
        return f"it is wider than /{widest}; name smaller networks"
    lists = (
        ("on the allow-list", rails.allow_list),
        ("a trusted proxy", rails.trusted_proxies),
        ("one of Sentinel's own addresses", rails.own_addresses),
    )
    for name, networks in (*_NEVER, *lists):
        if any(_overlap(network, other) for other in networks):
            return f"it is or contains an address that is {name}"
    return None


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
