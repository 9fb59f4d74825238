"""
The evidence behind a quarantine: what the decision rested on, in one canonical text with a hash.

It names events and holds the hash of each one's stored form, not the event: what was scanned is in none, and who may
read events reads them there. The hash of the whole goes into the audit chain, so neither the text nor an event can be
changed without showing.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

__all__ = ["Bundle", "Proof", "event_hash", "pack", "seal_of", "unpack"]

_DOMAIN = b"sentinel.evidence.1"
_EVENT_DOMAIN = b"sentinel.evidence.event.1"


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event: which, and what it held."""

    seq: int
    event_id: str
    event_type: str
    at: str
    """Of the event itself, RFC 3339."""
    sha256: str
    """`event_hash` of its stored form, in hex."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a decision rested on."""

    action: dict[str, Any]
    """Id, kind, target, reason, severity, time, author, rule and own evidence, as it was decided."""
    signals: tuple[dict[str, Any], ...]
    events: tuple[Proof, ...]
    """By order of acceptance."""
    complete: bool
    """False: there were more events than a bundle holds, and these are the latest; or none is left behind a signal."""
    collected_at: str


_encode = msgspec.json.Encoder(order="sorted").encode


def pack(bundle: Bundle) -> bytes:
    """Return the canonical text: JSON in UTF-8, keys sorted; `unpack` gives back an equal bundle."""
    return _encode(bundle)


def unpack(text: bytes) -> Bundle:
    """Return what `pack` wrote; `msgspec.DecodeError` for anything else."""
    return msgspec.json.decode(text, type=Bundle)


def seal_of(text: bytes) -> str:
    """Return the hash of a packed bundle, in hex."""
    return hashlib.sha256(_DOMAIN + text).hexdigest()


def event_hash(stored: bytes) -> str:
    """Return the hash of an event's stored form (`ingest.events.encode`), in hex."""
    return hashlib.sha256(_EVENT_DOMAIN + stored).hexdigest()
