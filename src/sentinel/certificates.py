"""
A small authority of one's own for mutual TLS, and what certificates say about themselves.

The authority holds for ten years, what it issues for one. Keys are on the curve P-256. A certificate serves both sides
of a connection, as the services of a mesh are servers to some and clients to others.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sentinel.errors import ConfigError

__all__ = [
    "CA_DAYS",
    "CRITICAL_DAYS",
    "LEAF_DAYS",
    "WARNING_DAYS",
    "Facts",
    "Pair",
    "State",
    "examine",
    "issue",
    "make_ca",
]

CA_DAYS = 3_650
LEAF_DAYS = 365
WARNING_DAYS = 30
CRITICAL_DAYS = 7
_SKEW = timedelta(minutes=5)
"""A certificate begins a little earlier than it was made: the other side's clock may be behind."""


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


class State(enum.StrEnum):
    """How a certificate does, from best to worst."""

    VALID = "valid"
    EXPIRING = "expiring_soon"
    CRITICAL = "critical"
    EXPIRED = "expired"
    INVALID = "invalid"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate says, and how it does."""

    names: tuple[str, ...]
    """DNS names and addresses."""
    not_before: datetime
    not_after: datetime
    days_left: int
    state: State
    problem: str | None = None
    """What is wrong with it, when it is more than its age."""


def make_ca(name: str, now: datetime, days: int = CA_DAYS) -> Pair:
    """Return a new authority that may sign certificates, but no further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _usage(signs=True)
    made = _begun(subject, subject, key.public_key(), now, now + timedelta(days=days))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = made.add_extension(usage, critical=True)
    return _pair(made.sign(key, hashes.SHA256()), key)


def issue(ca: Pair, name: str, names: Sequence[str], now: datetime, days: int = LEAF_DAYS) -> Pair:
    """
    Return a certificate of the authority with a new key.

    Args:
        ca: The authority.
        name: The common name; people read it.
        names: DNS names and addresses that it holds for; these are what programs check.
        now: It holds from then, and `days` long, but no longer than the authority.
        days: See `now`.

    Raises:
        ConfigError: The authority can't be read, or is over.
    """
    authority, authority_key = _certificate(ca.certificate), _key(ca.key)
    if authority.not_valid_after_utc <= now:
        raise ConfigError("the authority has expired; make a new one with `sentinel certs init`")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    until = min(now + timedelta(days=days), authority.not_valid_after_utc)
    made = _begun(subject, authority.subject, key.public_key(), now, until)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(_usage(signs=False), critical=True)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    made = made.add_extension(both, critical=False)
    made = made.add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    made = made.add_extension(signer, critical=False)
    return _pair(made.sign(authority_key, hashes.SHA256()), key)


def examine(certificate: bytes, now: datetime, *, ca: bytes | None = None, key: bytes | None = None) -> Facts:
    """
    Return what a certificate says and how it does now; the first of several in the text.

    Args:
        certificate: PEM.
        now: With a zone.
        ca: PEM of the authority that should have signed it.
        key: PEM of the key that should fit it.

    Raises:
        ConfigError: There is no certificate in the text.
    """
    found = _certificate(certificate)
    left = found.not_valid_after_utc - now
    problem = _problem(found, now, ca, key)
    return Facts(
        names=_names(found),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        days_left=left.days,
        state=State.INVALID if problem else _age(left),
        problem=problem,
    )


def _age(left: timedelta) -> State:
    if left <= timedelta():
        return State.EXPIRED
    if left < timedelta(days=CRITICAL_DAYS):
        return State.CRITICAL
    return State.EXPIRING if left < timedelta(days=WARNING_DAYS) else State.VALID


def _problem(found: x509.Certificate, now: datetime, ca: bytes | None, key: bytes | None) -> str | None:
    if found.not_valid_before_utc > now:
        return f"it holds only from {found.not_valid_before_utc:%Y-%m-%d} on; is the clock right?"
    if key is not None:
        try:
            fits = _key(key).public_key() == found.public_key()
        except ConfigError as err:
            return str(err)
        if not fits:
            return "the key beside it belongs to another certificate"
    if ca is not None:
        try:
            found.verify_directly_issued_by(_certificate(ca))
        except (ValueError, TypeError, InvalidSignature):
            return "the authority beside it has not signed it"
    return None


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    since: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since - _SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise ConfigError(f"{name!r} is neither an address nor a name in ASCII") from None


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ConfigError("holds no certificate (PEM)") from None


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        return load_pem_private_key(pem, password=None)  # type: ignore[return-value]  # other kinds serve as well
    except (ValueError, TypeError):
        raise ConfigError("the key can't be read (PEM, without a password)") from None
