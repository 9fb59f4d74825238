"""Personal data: addresses and numbers that point to a person, checked by their own arithmetic where they have one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from sentinel.model import Finding, ScanThreat
from sentinel.scanning.engines import Flags, Ignores
from sentinel.scanning.text import Source, Text

__all__ = ["Pii"]

# Decoding changes digits and letters at random; personal data are read as they stand.
_VIEWS = frozenset({"original", "normalised"})
# Reserved for documentation by RFC 2606 and RFC 6761: nobody has these addresses.
_RESERVED = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|example|test|invalid|localhost)$", re.IGNORECASE)
_ROLE_ACCOUNT = re.compile(r"^(?:no-?reply|do-?not-?reply|git|postmaster|mailer-daemon)@", re.IGNORECASE)
_IBAN_MODULUS = 97
_PHONE_DIGITS = range(8, 16)
"""E.164: at most 15; shorter than 8 is no international number."""


class Pii:
    """Finds e-mail addresses, telephone, social security, payment card and bank account numbers."""

    id = "pii"
    title = "Personal data"
    threats = (ScanThreat.PII,)
    sources: tuple[Source, ...] = ("prompt", "response")
    EXAMPLES = (
        Flags("Call 555-123-4567 or write to john@email.com", "response"),
        Flags("My card is 4111 1111 1111 1111."),
        Ignores("My order is 4111 1111 1111 1112."),
        Ignores("Write to someone@example.com."),
    )

    def examine(self, text: Text) -> Iterator[Finding]:
        """Yield one finding for each value that is shaped like personal data and passes its check."""
        for hit in text.hits_of(self.id):
            if hit.view.name in _VIEWS and _CHECKS.get(hit.rule.id, _anything)(hit.text):
                yield hit.finding(text.source)


def _anything(_: str) -> bool:
    return True


def _digits(value: str) -> list[int]:
    return [int(char) for char in value if char.isdecimal()]


def _is_somebodys_email(value: str) -> bool:
    return not (_RESERVED.search(value) or _ROLE_ACCOUNT.search(value))


def _is_phone(value: str) -> bool:
    return len(_digits(value)) in _PHONE_DIGITS


def _is_ssn(value: str) -> bool:
    """Whether the number can have been issued (area 000, 666 and 9xx, group 00 and serial 0000 never were)."""
    area, group, serial = value.split("-")
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def _is_card(value: str) -> bool:
    """Whether the check digit is right (Luhn, ISO/IEC 7812-1) and the number isn't one digit repeated."""
    digits = _digits(value)
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1


def _is_iban(value: str) -> bool:
    """Whether the check digits are right (ISO 7064 MOD 97-10)."""
    bare = value.replace(" ", "").upper()
    return int("".join(str(int(char, 36)) for char in bare[4:] + bare[:4])) % _IBAN_MODULUS == 1


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "pii.email": _is_somebodys_email,
    "pii.phone_abroad": _is_phone,
    "pii.ssn": _is_ssn,
    "pii.credit_card": _is_card,
    "pii.iban": _is_iban,
}
