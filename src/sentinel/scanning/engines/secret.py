"""Secrets: keys, tokens and passwords, told from placeholders by how random they look."""

from __future__ import annotations

import base64
import math
import re
import string
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from sentinel.model import Finding, ScanThreat
from sentinel.scanning.engines import Flags, Ignores, checked_findings
from sentinel.scanning.rulebook import Hit
from sentinel.scanning.text import Source, Text
from sentinel.scanning.view import View

__all__ = ["Secret"]

# A secret in base64 or behind %-signs is as secret; one that appears by turning letters round is chance.
_CHANCE = frozenset({"rot13", "reversed", "reversed_words", "leet", "leet_l", "split", "syllables"})
_PLACEHOLDER = re.compile(
    r"example|placeholder|randomstring|changeme|change_me|dummy|redacted|12345678|abcdefgh|deadbeef"
    r"|\b(?:your|my|test)[_-]|[_-]here|-(?:token|value)@|:\w*(?:pass(?:word|wd)?|pwd|secret|token)@"
    r"|x{4}|\*{4}|#{4}|\.{3}|<|[$#%]\{|\{\{|\b(?:process|os)\.env",
    re.IGNORECASE,
)
_PUBLISHED = re.compile(r"1234567890|1516239022|john ?doe|example|\btest\b|\badmin\b", re.IGNORECASE)
"""What the tokens of tutorials say of themselves."""
_LEAST_BITS_PER_CHARACTER = 3.0
"""Shannon entropy of the value: sixteen random hexadecimal digits have about 3.3 bits each, English words 2.5 to 3."""
_NAMED = frozenset({"secret.assigned", "secret.connection_string", "secret.curl_user", "secret.header"})
"""Rules whose match begins with the name of the value, which may be any word."""
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECKSUM_CHARS = 6


class Secret:
    """Finds API keys, tokens, private keys and passwords that stand with their name or in an address."""

    id = "secret"
    title = "Secret"
    threats = (ScanThreat.SECRET,)
    sources: tuple[Source, ...] = ("prompt", "response")
    by_rules = True
    EXAMPLES = (
        Flags("API key is: sk-abc123xyz789defghijklmnop", "response"),
        Flags("password = 'tR8#kq2Lz!mW9xPv4'"),
        Ignores("api_key = 'your-api-key-goes-here'"),
        Ignores("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    )

    def examine(self, text: Text) -> Iterable[Finding]:
        """Return one finding for each value that looks like a secret in use."""
        return checked_findings(self, text, heeds=_heeds, is_real=_is_real) if text.hits else ()


def _heeds(view: View) -> bool:
    return _CHANCE.isdisjoint(view.name.split("/"))


def _is_real(hit: Hit) -> bool:
    return _is_in_use(hit.rule.id, hit.text)


def _is_in_use(rule_id: str, value: str) -> bool:
    if rule_id in _NAMED:
        value = re.split(r"[\s:=>\"']+", value.rstrip("\"'; "))[-1]
        return not _PLACEHOLDER.search(value) and _is_mixed(value)
    if _PLACEHOLDER.search(value) or _bits_per_character(value) < _LEAST_BITS_PER_CHARACTER:
        return False
    return _CHECKS.get(rule_id, _anything)(value)


def _anything(_: str) -> bool:
    return True


def _is_unpublished(token: str) -> bool:
    """Whether the claims of a web token (JWT, RFC 7519) are other than those of the tokens in tutorials."""
    claims = token.split(".")[1]
    try:
        return not _PUBLISHED.search(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)).decode())
    except ValueError:
        return False


def _has_checksum(token: str) -> bool:
    """Whether the last six characters of one of our tokens are the CRC-32 of the others, in base 62."""
    number = zlib.crc32(token[:-_CHECKSUM_CHARS].encode())
    digits = (number // len(_ALPHABET) ** place % len(_ALPHABET) for place in range(_CHECKSUM_CHARS))
    return token[-_CHECKSUM_CHARS:] == "".join(_ALPHABET[digit] for digit in digits)


def _bits_per_character(value: str) -> float:
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares)


def _is_mixed(value: str) -> bool:
    """Whether a value looks drawn by lot: letters and digits, many different ones."""
    varied = bool(value) and _bits_per_character(value) >= _LEAST_BITS_PER_CHARACTER
    return varied and any(char.isdecimal() for char in value) and any(char.isalpha() for char in value)


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "secret.jwt": _is_unpublished,
    "secret.sentinel": _has_checksum,
}
