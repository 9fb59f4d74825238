"""
The local copy of what is in force, which answers "may this address go on?" without asking anybody.

How it works. The target of a block is a network (a single address is a /32 or /128) or a name: a user, a session, a
service, an endpoint and so on. Per address family and prefix length there is one dict from the network's leading bits
to its blocks, and one dict for all names, so a check is one shift and one lookup per prefix length in use, and a lookup
for each name, however many blocks there are.

Threads. Writers (one feed, normally) take a lock. Readers take none: a change replaces one immutable tuple in a dict,
the new block comes in before the old one goes, and a complete list is built aside and swapped in by one assignment. So
a reader sees each block as it was before or as it is after, and never a gap between.

Order. Each change carries a sequence number. Per block the highest one wins and the rest is ignored, so changes may
arrive twice or out of order. Ended blocks are remembered for that purpose, as many as `_ENDED_KEPT`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from operator import itemgetter
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton

import msgspec

from sentinel.errors import OutsideError
from sentinel.model import ActionStatus, ActionType, Micros, Scope, Severity
from sentinel.response import DEFAULT_LIMIT, Network, Target, normalise, parse_target

__all__ = ["Address", "Block", "Snapshot", "parse_address"]

Address = IPv4Address | IPv6Address

_ENDED_KEPT = 10_000
_HEADER = b"sentinel-snapshot 1 "


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One action in force, or the news that it no longer is."""

    id: str
    seq: int
    """Of its latest change; gapless over all blocks."""
    action_type: str
    """An `ActionType`; kinds from a newer service are kept, though not enforced here."""
    target: str
    status: ActionStatus
    expires: Micros | None
    """None: until revoked."""
    reason: str
    severity: Severity
    limit: int = DEFAULT_LIMIT
    """Requests a minute; for rate limits."""

    def in_force(self, now: Micros) -> bool:
        """Whether it has not expired; the end itself is outside."""
        return self.expires is None or now < self.expires


def parse_address(text: str) -> Address:
    """Return an address with any IPv6 zone cut off and `::ffff:` IPv4 unwrapped; `ValueError` if it is none."""
    return _parse(text.partition("%")[0])


# Only what parses is kept, and without its zone it is 45 characters at most: strangers cannot fill the memory.
@lru_cache(maxsize=16_384)
def _parse(text: str) -> Address:
    # `ip_address(text)` means the same and takes four times as long; an attacker with many addresses makes us pay it.
    try:
        if ":" not in text:
            return IPv4Address(inet_pton(AF_INET, text))
        address = IPv6Address(inet_pton(AF_INET6, text))
    except OSError:
        raise ValueError("not an IP address") from None
    return address.ipv4_mapped or address


class Snapshot:
    """What is in force, as far as this process knows; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._books = _Books()
        self._seq: int | None = None

    @property
    def seq(self) -> int | None:
        """Number of the latest change known; None as long as nothing was loaded or heard."""
        return self._seq

    def __len__(self) -> int:
        """How many blocks are known, expired ones that were not yet forgotten included."""
        return len(self._books.active)

    def apply(self, changes: Iterable[Block], seq: int, *, complete: bool = False) -> None:
        """
        Take in changes up to number `seq`; with `complete` they are everything in force and replace what was known.

        Applying the same changes again, or in another order, gives the same snapshot.
        """
        with self._lock:
            books = _Books() if complete else self._books
            for change in changes:
                books.put(change)
            if complete:
                books.floor = seq
            self._books = books
            self._seq = seq if complete else max(seq, self._seq or 0)

    def check(self, address: str, now: Micros) -> Block | None:
        """
        Return the block that contains the address, or None.

        A refusal goes before a rate limit, and among either a narrow network before a wide one.

        Raises:
            ValueError: It is not an address.
        """
        parsed = parse_address(address)
        books = self._books
        return books.refusals.networks.find(parsed, now) or books.limits.networks.find(parsed, now)

    def refusal(self, address: str | None, names: Iterable[tuple[Scope, str]], now: Micros) -> Block | None:
        """
        Return what refuses a request from an address that concerns these names, or None.

        Raises:
            ValueError: `address` is not an address.
        """
        return next(self._books.refusals.find(address, names, now), None)

    def limits(self, address: str | None, names: Iterable[tuple[Scope, str]], now: Micros) -> list[Block]:
        """
        Return every rate limit that a request from an address that concerns these names must keep.

        Raises:
            ValueError: `address` is not an address.
        """
        return list(self._books.limits.find(address, names, now))

    def forget(self, before: Micros) -> None:
        """Drop blocks that expired before a time, to bound memory."""
        with self._lock:
            for block in tuple(self._books.active.values()):
                if not block.in_force(before):
                    self._books.end(block.id, block.seq)

    def save(self, path: Path) -> None:
        """Write a file that is whole or absent, also after a power failure; mode 0600."""
        with self._lock:
            payload = msgspec.json.encode(_Saved(self._seq, tuple(self._books.active.values())))
        _write(path, _HEADER + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)

    @classmethod
    def load(cls, path: Path) -> Snapshot:
        """
        Return what `save` wrote.

        The checksum finds damage; it is no protection against somebody who may write the file.

        Raises:
            FileNotFoundError: There is none.
            OutsideError: It is damaged. It was renamed to `NAME.damaged`, so the next `save` is not hindered.
        """
        saved = _read(path)
        snapshot = cls()
        if saved.seq is not None:
            snapshot.apply(saved.blocks, saved.seq, complete=True)
        return snapshot


class _Books:
    """The blocks by id, and indexes of those that requests must keep."""

    def __init__(self) -> None:
        self.active: dict[str, Block] = {}
        self.ended: dict[str, int] = {}
        self.floor = -1
        """Changes up to this number are already in, whatever block they concern."""
        self.refusals = _Index()
        self.limits = _Index()

    def put(self, change: Block) -> None:
        known = self.active.get(change.id)
        if change.seq <= (known.seq if known else self.ended.get(change.id, self.floor)):
            return
        if change.status is not ActionStatus.ACTIVE:
            self.end(change.id, change.seq)
            return
        self.ended.pop(change.id, None)
        self.active[change.id] = change
        self._list(change)
        if known is not None:
            self._unlist(known)

    def end(self, block_id: str, seq: int) -> None:
        block = self.active.pop(block_id, None)
        if block is not None:
            self._unlist(block)
        self.ended[block_id] = seq
        if len(self.ended) > _ENDED_KEPT:
            del self.ended[next(iter(self.ended))]

    def _list(self, block: Block) -> None:
        place = self._place(block)
        if place is not None:
            index, target = place
            index.add(target, block)

    def _unlist(self, block: Block) -> None:
        place = self._place(block)
        if place is not None:
            index, target = place
            index.remove(target, block)

    def _place(self, block: Block) -> tuple[_Index, Target] | None:
        """Return the index that the block belongs in and its target; None if no request has to do with it."""
        if block.action_type == ActionType.ALERT_ESCALATION:
            return None
        try:
            action_type = ActionType(block.action_type)
            target = parse_target(action_type, block.target)
        except ValueError:
            # What a newer service does or spells differently must not cost this node all the others.
            return None
        return self.limits if action_type is ActionType.RATE_LIMIT else self.refusals, target


class _Index:
    """Blocks by what they are aimed at."""

    def __init__(self) -> None:
        self.networks = _PrefixTable()
        self._names: dict[tuple[Scope, str], tuple[Block, ...]] = {}

    def find(self, address: str | None, names: Iterable[tuple[Scope, str]], now: Micros) -> Iterator[Block]:
        """Yield the block of the address, then those of each name."""
        if address is not None and (block := self.networks.find(parse_address(address), now)):
            yield block
        if self._names:
            for name in names:
                yield from (block for block in self._names.get(name, ()) if block.in_force(now))

    def add(self, target: Target, block: Block) -> None:
        if target.scope is Scope.IP:
            self.networks.add(normalise(target.name), block)
        else:
            key = (target.scope, target.name)
            self._names[key] = (*self._names.get(key, ()), block)

    def remove(self, target: Target, block: Block) -> None:
        if target.scope is Scope.IP:
            self.networks.remove(normalise(target.name), block)
            return
        key = (target.scope, target.name)
        rest = tuple(other for other in self._names[key] if other is not block)
        if rest:
            self._names[key] = rest
        else:
            del self._names[key]


class _PrefixTable:
    """Blocks by the leading bits of their network."""

    def __init__(self) -> None:
        # Per address family pairs (host bits, blocks by leading bits), narrow networks first.
        self._levels: dict[int, tuple[tuple[int, dict[int, tuple[Block, ...]]], ...]] = {4: (), 6: ()}

    def find(self, address: Address, now: Micros) -> Block | None:
        number = int(address)
        for host_bits, networks in self._levels[address.version]:
            for block in networks.get(number >> host_bits, ()):
                if block.in_force(now):
                    return block
        return None

    def add(self, network: Network, block: Block) -> None:
        networks, bits = self._level(network)
        networks[bits] = (*networks.get(bits, ()), block)

    def remove(self, network: Network, block: Block) -> None:
        networks, bits = self._level(network)
        rest = tuple(other for other in networks[bits] if other is not block)
        if rest:
            networks[bits] = rest
        else:
            del networks[bits]

    def _level(self, network: Network) -> tuple[dict[int, tuple[Block, ...]], int]:
        """Return the dict for the network's prefix length, made if need be, and its key there."""
        host_bits = network.max_prefixlen - network.prefixlen
        key = int(network.network_address) >> host_bits
        levels = self._levels[network.version]
        for bits, networks in levels:
            if bits == host_bits:
                return networks, key
        fresh: dict[int, tuple[Block, ...]] = {}
        self._levels[network.version] = tuple(sorted((*levels, (host_bits, fresh)), key=itemgetter(0)))
        return fresh, key


# --- the file


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    seq: int | None
    blocks: tuple[Block, ...]


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one step: the directory never shows a half-written one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Without it the rename itself may be lost with the power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> _Saved:
    header, _, payload = path.read_bytes().partition(b"\n")
    if header == _HEADER + hashlib.sha256(payload).hexdigest().encode():
        return msgspec.json.decode(payload, type=_Saved)
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    raise OutsideError(
        f"the snapshot {path} is damaged and was set aside as {aside.name}; nothing was loaded from it",
        retryable=False,
    )
