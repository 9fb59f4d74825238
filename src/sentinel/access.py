"""
Tokens: who may do what.

A token is `sntl_<role>_<32 random letters and digits><6 of checksum>`: 190 random bits, and junk is told from a real
one without a look at the store. Only its SHA-256 is kept. A look-up goes by that hash, so no comparison of secrets can
be timed.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import msgspec

from sentinel.model import Micros, Role, Severity

__all__ = ["PREFIX", "Token", "TokenBook", "includes", "looks_real", "mint", "token_hash"]

PREFIX = "sntl_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM = 32
_CHECK = 6
_INCLUDES = {Role.ADMIN: {Role.ADMIN, Role.ANALYST, Role.VIEWER}, Role.ANALYST: {Role.ANALYST, Role.VIEWER}}


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as Sentinel keeps it: never the secret, only its hash."""

    id: str
    name: str
    role: Role
    hash: bytes
    max_severity: Severity
    may_cause_actions: bool
    created_at: Micros
    expires_at: Micros | None = None
    source_cidr: str | None = None
    revoked_at: Micros | None = None

    def ended(self, now: Micros) -> bool:
        """Whether it was revoked, or its time is over."""
        return self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= now)

    def valid(self, now: Micros, client: str | None) -> bool:
        """Whether it holds now, for a request from this address."""
        if self.ended(now):
            return False
        if self.source_cidr is None:
            return True
        try:
            return client is not None and ip_address(client) in ip_network(self.source_cidr)
        except ValueError:
            return False


def mint(role: Role) -> str:
    """Return a new token for a role."""
    body = f"{PREFIX}{role.value}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return body + _checksum(body)


def looks_real(text: str) -> bool:
    """Whether the checksum fits: true for every token that `mint` made."""
    return text.isascii() and text.startswith(PREFIX) and text[-_CHECK:] == _checksum(text[:-_CHECK])


def token_hash(text: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def includes(role: Role, wanted: Iterable[Role]) -> bool:
    """Whether a role may do what any of the wanted ones may."""
    return not _INCLUDES.get(role, {role}).isdisjoint(wanted)


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


class TokenBook:
    """The tokens in force, by hash."""

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._by_hash = {token.hash: token for token in tokens}

    def put(self, token: Token) -> None:
        """Add a token, or replace it by its changed self."""
        self._by_hash[token.hash] = token

    def take(self, tokens: Iterable[Token]) -> None:
        """Take in tokens as they were read from a store; what was revoked meanwhile stays revoked."""
        for token in tokens:
            known = self._by_hash.get(token.hash)
            if known is None or known.revoked_at is None:
                self.put(token)

    def find(self, text: str, now: Micros, client: str | None) -> Token | None:
        """Return the valid token that this text is, or None."""
        token = self.of(text)
        return token if token and token.valid(now, client) else None

    def of(self, text: str) -> Token | None:
        """Return the token that this text is, valid or not; None for junk, which no hash fits."""
        return self._by_hash.get(token_hash(text))

    def ended(self, token: Token, now: Micros) -> bool:
        """Whether a token that was found earlier no longer holds."""
        return self._by_hash[token.hash].ended(now)

    def list(self) -> list[Token]:
        """Return every token, oldest first."""
        return sorted(self._by_hash.values(), key=lambda token: (token.created_at, token.id))

    def by_id(self, token_id: str) -> Token | None:
        """Return the token with this id."""
        return next((token for token in self._by_hash.values() if token.id == token_id), None)
