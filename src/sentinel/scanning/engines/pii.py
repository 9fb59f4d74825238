"""Personal data: addresses and numbers that point to a person, checked by their own arithmetic where they have one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from ipaddress import ip_address

from sentinel.model import Finding, ScanThreat
from sentinel.scanning.engines import Flags, Ignores, checked_findings
from sentinel.scanning.rulebook import Hit
from sentinel.scanning.text import Source, Text
from sentinel.scanning.view import View

__all__ = ["Pii"]

# Decoding changes digits and letters at random; personal data are read as they stand.
_VIEWS = frozenset({"original", "normalised"})
# Reserved for documentation by RFC 2606 and RFC 6761: nobody has these addresses.
_RESERVED = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|example|test|invalid|localhost)$", re.IGNORECASE)
_ROLE_ACCOUNT = re.compile(r"^(?:no-?reply|do-?not-?reply|git|postmaster|mailer-daemon)@", re.IGNORECASE)
_IBAN_MODULUS = 97
_COUNTRIES = """
AE23 AT20 BE16 BG22 BR29 CH21 CY28 CZ24 DE22 DK18 EE20 ES24 FI18 FR27 GB22 GR27 HR21 HU28 IE22 IL23 IS26 IT27 LI21 LT20
LU20 LV21 MC27 MT31 NL18 NO15 PL28 PT25 QA29 RO24 SA24 SE24 SI19 SK24 SM27 TR26 UA29
"""
_IBAN_LENGTHS = {country[:2]: int(country[2:]) for country in _COUNTRIES.split()}
_CORNERS = 5
_VERHOEFF_STEP = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_EVERYBODYS = frozenset({"1.1.1.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "1.2.3.4"})
"""Public name servers, and the address that examples use."""
_PHONE_DIGITS = range(8, 16)
"""E.164: at most 15; shorter than 8 is no international number."""


class Pii:
    """Finds addresses of all kinds, and the numbers of telephones, cards, accounts, citizens and patients."""

    id = "pii"
    title = "Personal data"
    threats = (ScanThreat.PII,)
    sources: tuple[Source, ...] = ("prompt", "response")
    by_rules = True
    EXAMPLES = (
        Flags("Call 555-123-4567 or write to john@email.com", "response"),
        Flags("My card is 4111 1111 1111 1111."),
        Ignores("My order is 4111 1111 1111 1112."),
        Ignores("Write to someone@example.com."),
    )

    def examine(self, text: Text) -> Iterable[Finding]:
        """Return one finding for each value that is shaped like personal data and passes its check."""
        return checked_findings(self, text, heeds=_heeds, is_real=_is_real) if text.hits else ()


def _heeds(view: View) -> bool:
    return view.name in _VIEWS


def _is_real(hit: Hit) -> bool:
    return _CHECKS.get(hit.rule.id, _anything)(hit.text)


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
    """Whether the check digit is right and the number isn't one digit repeated."""
    digits = _digits(value)
    return _luhn(digits) and len(set(digits)) > 1


def _luhn(digits: Sequence[int]) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1)."""
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _weighted(digits: Sequence[int], weights: Sequence[int]) -> int:
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


def _is_iban(value: str) -> bool:
    """Whether the length is the country's and the check digits are right (ISO 13616, ISO 7064 MOD 97-10)."""
    bare = value.replace(" ", "").upper()
    if _IBAN_LENGTHS.get(bare[:2], len(bare)) != len(bare):
        return False
    return int("".join(str(int(char, 36)) for char in bare[4:] + bare[:4])) % _IBAN_MODULUS == 1


def _is_nino(value: str) -> bool:
    return value[:2] not in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"}


def _is_nhs(value: str) -> bool:
    digits = _digits(value)[-10:]
    return (11 - _weighted(digits, range(10, 1, -1)) % 11) % 11 == digits[9]


def _is_nir(value: str) -> bool:
    """Whether the key is 97 less the rest of the number by 97; the departments of Corsica are counted as 19 and 18."""
    bare = re.sub(r"[ .]", "", value).upper().replace("2A", "19").replace("2B", "18")
    return 97 - int(bare[:-2]) % 97 == int(bare[-2:])


def _is_dni(value: str) -> bool:
    bare = re.sub(r"[ -]", "", value).upper()
    number = int(bare[:-1].translate(str.maketrans("XYZ", "012")))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == bare[-1]


def _is_codice_fiscale(value: str) -> bool:
    """Whether the last letter checks the others (ministerial decree of 23 December 1976)."""
    odd = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]
    ranks = [int(char, 36) - 10 if char.isalpha() else int(char) for char in value]
    total = sum(odd[rank] for rank in ranks[:15:2]) + sum(ranks[1:15:2])
    return total % 26 == ranks[15]


def _mod_11_10(digits: Sequence[int]) -> bool:
    """Whether the last digit checks the others (ISO 7064 MOD 11,10)."""
    product = 10
    for digit in digits[:-1]:
        product = (product + digit) % 10 or 10
        product = 2 * product % 11
    return (11 - product) % 10 == digits[-1]


def _is_steuer_id(value: str) -> bool:
    digits = _digits(value)[-11:]
    return digits[0] != 0 and _mod_11_10(digits)


def _is_bsn(value: str) -> bool:
    digits = _digits(value)[-9:]
    return any(digits) and _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _is_pesel(value: str) -> bool:
    return _weighted(_digits(value)[-11:], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _is_cpf(value: str) -> bool:
    digits = _digits(value)
    checks = [10 * _weighted(digits, range(length + 1, 1, -1)) % 11 % 10 for length in (9, 10)]
    return checks == digits[9:] and len(set(digits)) > 1


def _is_aadhaar(value: str) -> bool:
    """Whether the last digit checks the others (Verhoeff 1969: products in the dihedral group of ten elements)."""
    check = 0
    for place, digit in enumerate(reversed(_digits(value)[-12:])):
        for _ in range(place % 8):
            digit = _VERHOEFF_STEP[digit]  # noqa: PLW2901 - the permutation, applied once for each place
        check = _dihedral(check, digit)
    return check == 0


def _dihedral(left: int, right: int) -> int:
    """Return the product of two elements of the symmetries of a pentagon: 0-4 turn it, 5-9 turn it over too."""
    flips, step = (left >= _CORNERS) != (right >= _CORNERS), right if left < _CORNERS else -right
    return (left + step) % _CORNERS + _CORNERS * flips


def _is_sin(value: str) -> bool:
    return _luhn(_digits(value)[-9:])


def _is_vat(value: str) -> bool:
    """Whether the check digits are those that the country of the prefix asks for."""
    digits = _digits(value)
    match value[:2].upper():
        case "DE":
            return _mod_11_10(digits)
        case "FR":
            siren = int("".join(map(str, digits[2:])))
            return _luhn(digits[2:]) and (12 + 3 * (siren % 97)) % 97 == 10 * digits[0] + digits[1]
        case "IT":
            return _luhn(digits)
        case "NL":
            return _weighted(digits[:9], (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and any(digits[:9])
        case _:
            return _weighted(digits, (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == digits[9]


def _is_public_address(value: str) -> bool:
    return ip_address(value).is_global and value not in _EVERYBODYS


def _is_bitcoin(value: str) -> bool:
    return _is_bech32(value) if value.startswith("bc1") else _is_base58check(value)


def _is_base58check(value: str) -> bool:
    """Whether the last four of 25 bytes are the beginning of the double SHA-256 of the others."""
    number = 0
    for char in value:
        number = 58 * number + _BASE58.index(char)
    data = number.to_bytes(26, "big")[1:]
    return sha256(sha256(data[:-4]).digest()).digest()[:4] == data[-4:]


def _is_bech32(value: str) -> bool:
    """Whether the checksum is that of Bech32 or Bech32m (BIP 173, BIP 350)."""
    # The expanded human-readable part "bc", then the data.
    values = [3, 3, 0, 2, 3, *("qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(char) for char in value[3:])]
    check = 1
    for item in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ item
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check in {1, 0x2BC830A3}


def _is_npi(value: str) -> bool:
    # The number is that of a card whose issuer is 80840.
    return _luhn([8, 0, 8, 4, 0, *_digits(value)[-10:]])


def _is_dea(value: str) -> bool:
    digits = _digits(value)[-7:]
    return (sum(digits[0:6:2]) + 2 * sum(digits[1:6:2])) % 10 == digits[6]


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "pii.email": _is_somebodys_email,
    "pii.phone_abroad": _is_phone,
    "pii.ssn": _is_ssn,
    "pii.credit_card": _is_card,
    "pii.iban": _is_iban,
    "pii.nino": _is_nino,
    "pii.nhs": _is_nhs,
    "pii.nir": _is_nir,
    "pii.dni": _is_dni,
    "pii.codice_fiscale": _is_codice_fiscale,
    "pii.steuer_id": _is_steuer_id,
    "pii.bsn": _is_bsn,
    "pii.pesel": _is_pesel,
    "pii.cpf": _is_cpf,
    "pii.aadhaar": _is_aadhaar,
    "pii.sin": _is_sin,
    "pii.vat": _is_vat,
    "pii.ip_address": _is_public_address,
    "pii.bitcoin": _is_bitcoin,
    "pii.npi": _is_npi,
    "pii.dea": _is_dea,
}
