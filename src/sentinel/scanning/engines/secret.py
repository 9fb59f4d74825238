"""Secrets: keys, tokens and passwords, told from placeholders by how random they look."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from sentinel.model import Finding, ScanThreat
from sentinel.scanning.engines import Flags, Ignores
from sentinel.scanning.text import Source, Text

__all__ = ["Secret"]

# A secret in base64 or behind %-signs is as secret; one that appears by turning letters round is chance.
_CHANCE = frozenset({"rot13", "reversed", "leet", "leet_l", "split"})
_PLACEHOLDER = re.compile(
    r"example|placeholder|randomstring|changeme|change_me|dummy|redacted|1234567890"
    r"|\b(?:your|my|test)[_-]|[_-]here|-(?:token|value)@|:\w*(?:pass(?:word|wd)?|pwd|secret|token)@"
    r"|x{4}|\*{4}|\.{3}|<|\$\{",
    re.IGNORECASE,
)
_LEAST_BITS_PER_CHARACTER = 3.0
"""Shannon entropy of the value: sixteen random hexadecimal digits have about 3.3 bits each, English words 2.5 to 3."""
_NAMED = {"secret.assigned"}
"""Rules whose match begins with the name of the value, which may be any word."""


class Secret:
    """Finds API keys, tokens, private keys and passwords that stand with their name or in an address."""

    id = "secret"
    title = "Secret"
    threats = (ScanThreat.SECRET,)
    sources: tuple[Source, ...] = ("prompt", "response")
    EXAMPLES = (
        Flags("API key is: sk-abc123xyz789defghijklmnop", "response"),
        Flags("password = 'tR8#kq2Lz!mW9xPv4'"),
        Ignores("api_key = 'your-api-key-goes-here'"),
        Ignores("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    )

    def examine(self, text: Text) -> Iterator[Finding]:
        """Yield one finding for each value that looks like a secret in use."""
        for hit in text.hits_of(self.id):
            if _CHANCE.isdisjoint(hit.view.name.split("/")) and _is_in_use(hit.text, named=hit.rule.id in _NAMED):
                yield hit.finding(text.source)


def _is_in_use(value: str, *, named: bool) -> bool:
    if _PLACEHOLDER.search(value) or _bits_per_character(value) < _LEAST_BITS_PER_CHARACTER:
        return False
    return not named or _is_mixed(re.split(r"[\s:=>\"']+", value.rstrip("\"'"))[-1])


def _bits_per_character(value: str) -> float:
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares)


def _is_mixed(value: str) -> bool:
    """Whether a value looks drawn by lot: letters and digits, many different ones."""
    varied = _bits_per_character(value) >= _LEAST_BITS_PER_CHARACTER
    return varied and any(char.isdecimal() for char in value) and any(char.isalpha() for char in value)
