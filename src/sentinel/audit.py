"""
The audit chain: who did what, each entry sealed to the one before, and checkpoints that make rewriting show.

A chain alone proves little: whoever may write the store can compute it anew, cut its tail, or bring back yesterday's.
So a signed checkpoint (size, hash of the last entry) goes to a place that the service does not rewrite, the anchor.
`verify` compares the two, and says what it can't rule out where there is no anchor.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from sentinel.model import Micros

__all__ = ["GENESIS", "Checkpoint", "Entry", "Fields", "Kind", "Report", "Status", "key_id", "link", "seal", "verify"]

GENESIS = bytes(32)
"""What the first entry is linked to."""

_DOMAIN = b"sentinel.audit.entry.1"
_SEAL_DOMAIN = b"sentinel.audit.checkpoint.1"
_PROBLEMS_SHOWN = 20


class Entry(NamedTuple):
    """One entry as it is stored; `details` is JSON text, taken as it stands."""

    seq: int
    """From 1, without a gap."""
    at: Micros
    actor: str
    operation: str
    target: str
    details: str
    hash: bytes
    """`link` of the entry before and of all that stands above."""


Fields = tuple[int, Micros, str, str, str, str]
"""An entry without its hash, in the same order."""


class Kind(enum.StrEnum):
    """Why a checkpoint was made."""

    SEAL = "seal"
    """The log stood so."""
    PRUNED = "pruned"
    """Entries up to `size` were deleted by retention."""
    RESTORED = "restored"
    """The log was brought back from a backup; what came after `size` is gone."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the anchor: what the log looked like at a time."""

    origin: str
    """Which log: a random name, given at the first start."""
    kind: Kind = Kind.SEAL
    size: int
    """Entries up to then."""
    root: str
    """Hash of entry `size`, in hex."""
    time: Micros
    key_id: str
    previous: str
    """Digest of the checkpoint before, in hex; empty for the first."""
    signature: str = ""

    def digest(self) -> str:
        """Return what the next checkpoint names as `previous`."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class Status(enum.StrEnum):
    """What a verification found."""

    VERIFIED = "verified"
    TAMPERED = "tampered"
    UNANCHORED = "consistent, without an anchor"
    UNSIGNED = "consistent, signatures not checked"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a verification."""

    status: Status
    size: int
    """Sequence of the last entry."""
    anchored: int
    """Up to which entry the anchor vouches for the log."""
    problems: tuple[str, ...]
    """Each names a place; at most twenty."""
    notes: tuple[str, ...]
    """What is no tampering, but should be known."""


# --- making


def link(previous: bytes, fields: Fields) -> bytes:
    """Return the hash of an entry: 32 bytes over the one before and every field, each text with its length."""
    seq, at, *texts = fields
    digest = hashlib.sha256(_DOMAIN + previous + seq.to_bytes(8) + at.to_bytes(8, signed=True))
    for field in texts:
        raw = field.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8) + raw)
    return digest.digest()


def key_id(key: bytes) -> str:
    """Return the public name of a signing key."""
    return hashlib.sha256(_SEAL_DOMAIN + key).hexdigest()[:16]


def seal(
    key: bytes, *, origin: str, size: int, root: bytes, time: Micros, before: Checkpoint | None, kind: Kind = Kind.SEAL
) -> Checkpoint:
    """Return a signed checkpoint that follows the one before."""
    plain = Checkpoint(
        origin=origin,
        kind=kind,
        size=size,
        root=root.hex(),
        time=time,
        key_id=key_id(key),
        previous=before.digest() if before else "",
    )
    return msgspec.structs.replace(plain, signature=_signature(key, plain))


def _signature(key: bytes, checkpoint: Checkpoint) -> str:
    unsigned = msgspec.json.encode(msgspec.structs.replace(checkpoint, signature=""))
    return hmac.new(key, _SEAL_DOMAIN + unsigned, hashlib.sha256).hexdigest()


# --- verifying


def verify(entries: Iterable[Entry], anchor: Sequence[Checkpoint], keys: Sequence[bytes] = ()) -> Report:
    """
    Return whether a log is what its anchor says it was.

    Args:
        entries: In order of their sequence; read once, so they may come from a cursor.
        anchor: Its checkpoints, oldest first; empty when there is no anchor.
        keys: The signing keys that were in use, oldest first; without one signatures aren't checked, and the status is
            `UNSIGNED`. A key that was replaced signs nothing after its successor has, or after the last line of all.
    """
    check = _Verification(anchor, keys)
    check.checkpoints()
    check.chain(entries)
    return check.report()


def _fits(head: bytes | None, entry: Entry) -> bool:
    """Whether an entry is sealed to the one before. SQLite takes any type in any column, so nothing is sure of it."""
    try:
        return head is not None and entry.hash == link(head, entry[:6])
    except (AttributeError, OverflowError, TypeError):
        return False


class _Verification:
    def __init__(self, anchor: Sequence[Checkpoint], keys: Sequence[bytes]) -> None:
        self._anchor = anchor
        self._keys = {key_id(key): key for key in keys}
        self._epochs = {name: number for number, name in enumerate(self._keys)}
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._roots: dict[int, str] = {}
        self._start = 0
        self._base: bytes | None = GENESIS
        self._size = 0

    def checkpoints(self) -> None:
        """Check the anchor itself, and collect what the log must agree with."""
        before: Checkpoint | None = None
        epoch = 0
        for number, checkpoint in enumerate(self._anchor, 1):
            self._check_line(number, checkpoint, before)
            # Whoever got hold of a key that was replaced must not be able to go on with it.
            if self._epochs.get(checkpoint.key_id, epoch) < epoch:
                self._problem(f"checkpoint {number} of the anchor is signed by a key that had been replaced")
            epoch = max(epoch, self._epochs.get(checkpoint.key_id, epoch))
            if checkpoint.kind is Kind.RESTORED:
                lost = max(self._roots, default=0)
                self._roots = {size: root for size, root in self._roots.items() if size < checkpoint.size}
                self._notes.append(
                    f"restored from a backup after checkpoint {number - 1}: entries {checkpoint.size + 1} to {lost}"
                    " of the earlier log are gone"
                    if lost > checkpoint.size
                    else f"restored from a backup after checkpoint {number - 1}; nothing was lost"
                )
            if checkpoint.kind is Kind.PRUNED:
                self._start, self._base = checkpoint.size, bytes.fromhex(checkpoint.root)
                self._notes.append(f"entries 1 to {checkpoint.size} were deleted by retention")
            self._roots[checkpoint.size] = checkpoint.root
            before = checkpoint
        if before and self._epochs and epoch < len(self._epochs) - 1:
            self._problem("the anchor ends before the newest key has signed: start the service")
        if self._anchor and not self._keys:
            self._notes.append(
                "the signatures of the anchor weren't checked, as no key was given: whoever may write the store and"
                " this copy of the anchor could have made both anew"
            )

    def _check_line(self, number: int, checkpoint: Checkpoint, before: Checkpoint | None) -> None:
        where = f"checkpoint {number} of the anchor"
        if checkpoint.previous != (before.digest() if before else ""):
            self._problem(f"{where} does not follow the one before it")
        if before and checkpoint.origin != before.origin:
            self._problem(f"{where} is of another log")
        if before and checkpoint.kind is Kind.SEAL and checkpoint.size < before.size:
            self._problem(f"{where} says {checkpoint.size} entries, the one before it {before.size}")
        known = self._roots.get(checkpoint.size)
        if known is not None and known != checkpoint.root:
            self._problem(f"{where} gives entry {checkpoint.size} another hash than an earlier one does")
        if self._keys and not self._signed(checkpoint):
            self._problem(f"{where} has no signature that fits")

    def _signed(self, checkpoint: Checkpoint) -> bool:
        key = self._keys.get(checkpoint.key_id)
        return key is not None and hmac.compare_digest(
            checkpoint.signature.encode(), _signature(key, checkpoint).encode()
        )

    def chain(self, entries: Iterable[Entry]) -> None:
        """Check every link, and the hash at every size that the anchor knows."""
        head, self._size = self._base, self._start
        if self._start:
            self._compare(self._start, head)
        for entry in entries:
            if 0 < entry.seq <= self._start:
                continue  # said to be deleted, and soon will be: it proves nothing and harms nothing
            if entry.seq != self._size + 1:
                self._problem(f"entry {self._size + 1} is missing: {entry.seq} follows {self._size}")
            if not _fits(head, entry):
                self._problem(f"entry {entry.seq} is not what was written, or not after that entry")
            head, self._size = entry.hash, entry.seq
            self._compare(self._size, head)
        last = max(self._roots, default=0)
        if last > self._size:
            self._problem(
                f"the log ends at entry {self._size}, the anchor knows {last}: cut off, rolled back,"
                " or restored from a backup that is older than the anchor"
            )

    def _compare(self, size: int, head: bytes | None) -> None:
        root = self._roots.get(size)
        if root is not None and not (isinstance(head, bytes) and root == head.hex()):
            self._problem(f"entry {size} is not the one that the anchor saw")

    def _problem(self, text: str) -> None:
        if len(self._problems) < _PROBLEMS_SHOWN:
            self._problems.append(text)

    def report(self) -> Report:
        """Return the findings."""
        anchored = min(max(self._roots, default=0), self._size)
        if not self._anchor:
            self._notes.append("the chain alone can't rule out that the log was cut off, rolled back or computed anew")
        elif self._size > anchored:
            self._notes.append(f"entries {anchored + 1} to {self._size} came after the anchor's last checkpoint")
        status = Status.VERIFIED if self._keys else Status.UNSIGNED
        if not self._anchor:
            status = Status.UNANCHORED
        return Report(
            status=Status.TAMPERED if self._problems else status,
            size=self._size,
            anchored=anchored,
            problems=tuple(self._problems),
            notes=tuple(self._notes),
        )
