"""Whose request is it: the client's address behind trusted proxies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sentinel.enforcement.snapshot import Address, parse_address
from sentinel.errors import ConfigError
from sentinel.response import Network, normalise

__all__ = ["Proxies", "client_address"]

UNIX = "unix"
"""The word in `trusted_proxies` that stands for whoever connects through a Unix socket."""


class Proxies:
    """The peers whose X-Forwarded-For is believed."""

    def __init__(self, trusted: Iterable[str]) -> None:
        words = set(trusted)
        self.trust_unix = UNIX in words
        self._networks = tuple(_proxy(word) for word in sorted(words - {UNIX}))

    def trust(self, peer: Address | None) -> bool:
        """Whether this peer's word counts; None is a peer without an address."""
        if peer is None:
            return self.trust_unix
        return any(peer in network for network in self._networks)


def client_address(scope: Mapping[str, Any], proxies: Proxies) -> str | None:
    """
    Return the address of the client of an ASGI request, canonical; None if it came through a Unix socket.

    X-Forwarded-For is read from the right, the end that trusted proxies wrote, and only as far as they vouch for it:
    the answer is the first address that is not a trusted proxy. Something unreadable ends the search at the hop before.
    """
    address = _peer(scope)
    hops = _hops(scope)
    while proxies.trust(address):
        try:
            address = parse_address(_bare(next(hops)))
        except (StopIteration, ValueError):
            break
    return None if address is None else str(address)


def _proxy(word: str) -> Network:
    try:
        return normalise(word)
    except ValueError as err:
        raise ConfigError(f"{err}, or unix for the peers of a Unix socket", where="trusted_proxies") from None


def _peer(scope: Mapping[str, Any]) -> Address | None:
    """Servers write None, an empty name or the socket's path for a Unix socket."""
    try:
        return parse_address(scope["client"][0])
    except (LookupError, TypeError, ValueError):
        return None


def _hops(scope: Mapping[str, Any]) -> Iterator[str]:
    """
    Yield the entries of all X-Forwarded-For headers, nearest first; repeated headers are one list (RFC 9110, 5.3).

    Only what is asked for is cut off: the far end is the client's to write and may be long.
    """
    for name, value in reversed(tuple(scope["headers"])):
        rest = value if name == b"x-forwarded-for" else b""
        while rest:
            rest, _, entry = rest.rpartition(b",")
            if entry.strip():
                yield entry.strip().decode("latin-1")


def _bare(hop: str) -> str:
    """Cut a port off: some proxies write `203.0.113.9:4711` or `[2001:db8::1]:4711`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
