"""
Certificates in files, as SSL contexts that follow the files.

A certificate that was renewed is used for the next connection; those that are open go on. What can't be used, because
it was read half-way through or does not fit its key, changes nothing: the last good one stays in force.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sentinel.errors import ConfigError

__all__ = ["Peer", "Tls", "TlsFiles", "peer_of"]


_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How a client of ours knows the service, and makes itself known to it."""

    ca_file: str | Path | None = None
    """Certificates (PEM) of who may vouch for the service; None = the authorities of the system."""
    certificate_file: str | Path | None = None
    """The client's own certificate (PEM); None = it has none."""
    key_file: str | Path | None = None
    """Its key; None = it lies in the same file."""

    def files(self) -> TlsFiles:
        """
        Return the context for connections, and what keeps it up to date.

        Raises:
            ConfigError: A file can't be used; names it.
        """
        return TlsFiles(ssl.PROTOCOL_TLS_CLIENT, self.ca_file, self.certificate_file, self.key_file)


class TlsFiles:
    """
    An SSL context (`context`) made of files; `look` takes what has changed in them.

    Of the authorities those that are new are added; one that was removed is believed until the next start.

    Args:
        side: `ssl.PROTOCOL_TLS_SERVER` or `ssl.PROTOCOL_TLS_CLIENT`.
        ca: Who vouches for the other side.
        certificate: Our own, with those between it and the authority.
        key: Its key; None = in the same file.
        required: Whether the other side must have a certificate; a client always asks for it.

    Raises:
        ConfigError: A file can't be used; names it.
    """

    def __init__(
        self,
        side: int,
        ca: str | Path | None,
        certificate: str | Path | None,
        key: str | Path | None,
        *,
        required: bool = True,
    ) -> None:
        self._side, self._required = side, required
        paths = (None if part is None else Path(part) for part in (ca, certificate, key))
        self._ca, self._certificate, self._key = paths
        self._seen = self._signs()
        self.certificate = self._first()
        """Our own certificate in force (PEM), without those behind it; empty without one."""
        self.context = self._made()

    def look(self) -> bool:
        """
        Take what has changed in the files; returns whether something had.

        Raises:
            ConfigError: What lies there now can't be used; the context is as it was. Said once for each change.
        """
        signs = self._signs()
        if signs == self._seen:
            return False
        self._seen = signs
        certificate = self._first()
        self._made()  # tried on a context that nobody uses: a failed load leaves one half changed
        self._load(self.context)
        self.certificate = certificate
        return True

    def _first(self) -> str:
        if self._certificate is None:
            return ""
        try:
            text = self._certificate.read_text("ascii")
        except (OSError, UnicodeDecodeError) as err:
            told = getattr(err, "strerror", None) or "it is not PEM"
            raise ConfigError(f"can't be used as certificate: {told}", where=str(self._certificate)) from None
        begin, end = text.find(_BEGIN), text.find(_END)
        if not 0 <= begin < end:
            raise ConfigError("can't be used as certificate: it holds none", where=str(self._certificate))
        return text[begin : end + len(_END)] + "\n"

    def _signs(self) -> Sequence[tuple[int, int, int] | None]:
        return [_sign(path) for path in (self._ca, self._certificate, self._key)]

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(self._side)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context)
        if self._side == ssl.PROTOCOL_TLS_SERVER and self._ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED if self._required else ssl.CERT_OPTIONAL
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            if self._ca is not None:
                context.load_verify_locations(self._ca)
            elif self._side == ssl.PROTOCOL_TLS_CLIENT:
                context.load_default_certs()
        except (OSError, ssl.SSLError) as err:
            raise ConfigError(f"can't be used as authorities: {_told(err)}", where=str(self._ca)) from None
        if self._certificate is None:
            return
        try:
            # An empty password, so that a key that has one is refused instead of asking at the terminal.
            context.load_cert_chain(self._certificate, self._key, password="")
        except (OSError, ssl.SSLError) as err:
            where = str(self._certificate) if self._key is None else f"{self._certificate}, {self._key}"
            raise ConfigError(f"can't be used as certificate and key: {_told(err)}", where=where) from None


def _sign(path: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None when there is none."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)


def _told(err: OSError) -> str:
    if isinstance(err, ssl.SSLError):
        return str(err.reason or "it holds none").replace("_", " ").lower()
    return str(err.strerror)


class Peer(msgspec.Struct, frozen=True):
    """The other side of a connection, as a certificate says that an authority of ours has signed."""

    names: frozenset[str]
    """Its DNS names."""
    not_after: float
    """Until when that holds, in seconds since the epoch: a connection may outlive it."""


def peer_of(ssl_object: Any) -> Peer | None:
    """Return who the other side of a connection has proved to be, or None."""
    found: Mapping[str, Any] | None = None if ssl_object is None else ssl_object.getpeercert()
    if not found:  # no certificate: an unverified one never gets here, as the handshake fails
        return None
    names = frozenset(value for kind, value in found.get("subjectAltName", ()) if kind == "DNS")
    return Peer(names, float(ssl.cert_time_to_seconds(found["notAfter"])))
