# ruff: noqa: INP001 - a script beside the page that it writes, not a package
"""
Write the table of modifiers in sigma.md from cases that run: `python docs/reference/conformance.py`.

tests/unit/detection/test_conformance.py fails while the page says something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sentinel.detection.sigma.values import field_predicate
from sentinel.errors import RuleError
from sentinel.model import Event, EventType, Severity

__all__ = ["CASES", "PAGE", "rendered"]

PAGE = Path(__file__).parent / "sigma.md"
_PLACEHOLDERS = {"administrators": ["erin", "frank"]}
_REFUSED: Any = object()

# What the field asks, its value, what the event's field `f` holds, and whether it matches.
CASES: list[tuple[str, Any, Any, Any]] = [
    ("f", "login", "Login", True),
    ("f", "lo*", "login", True),
    ("f", "l?gin", "login", True),
    ("f", None, None, True),
    ("f|contains", "og", "login", True),
    ("f|contains", "adm", {"role": ["Admin", 7]}, True),
    ("f", "admin", {"role": "admin"}, False),
    ("f|startswith", "log", "login", True),
    ("f|endswith", "in", "login", True),
    ("f|all", ["lo*", "*in"], "login", True),
    ("f|contains|all", ["lo", "x"], "login", False),
    ("f|cased", "Login", "login", False),
    ("f|re", "^l.g", "login", True),
    ("f|re|i", "^L", "login", True),
    ("f|re|m", "^b", "a\nb", True),
    ("f|re|s", "a.b", "a\nb", True),
    ("f|re", "(?=x)", None, _REFUSED),
    ("f|cidr", "192.0.2.0/24", "192.0.2.7", True),
    ("f|exists", True, "", True),
    ("f|gt", 5, 6, True),
    ("f|gte", 5, "5", True),
    ("f|lt", 5, "junk", False),
    ("f|lte", 5, 5, True),
    ("f|neq", "login", "logout", True),
    ("f|fieldref", "g", "same", True),
    ("f|base64", "whoami", "d2hvYW1p", True),
    ("f|base64offset|contains", "whoami", "eHdob2FtaXg=", True),
    ("f|utf16le|base64", "ab", "YQBiAA==", True),
    ("f|wide|base64", "ab", "YQBiAA==", True),
    ("f|utf16be|base64", "ab", "AGEAYg==", True),
    ("f|utf16|base64", "ab", "//5hAGIA", True),
    ("f|wide", "ab", None, _REFUSED),
    ("f|windash|contains", " -enc", "x /enc", True),
    ("f|expand", "%administrators%", "erin", True),
    ("f|expand", r"\%plain%administrators%", "%plainerin", True),
    ("f|expand", "%unknown%", None, _REFUSED),
    ("f|minute", 30, "2026-01-05T12:30:00Z", True),
    ("f|hour", 12, "2026-01-05T13:30:00+01:00", True),
    ("f|hour|gte", 22, "2026-01-05T21:59:59Z", False),
    ("f|day", 5, "2026-01-05T12:30:00Z", True),
    ("f|week", 2, "2026-01-05T12:30:00Z", True),
    ("f|month", 1, "2026-01-05T12:30:00Z", True),
    ("f|year", 2026, "2026-01-05T12:30:00Z", True),
    ("f|unheard", "x", None, _REFUSED),
]


def _answer(key: str, value: Any, found: Any) -> Any:
    try:
        predicate = field_predicate(key, value, _PLACEHOLDERS)
    except RuleError:
        return _REFUSED
    moment = datetime(2026, 1, 5, 12, tzinfo=UTC)
    details = {"f": found, "g": "same"}
    kind, severity = EventType.AUTHENTICATION, Severity.LOW
    return predicate.holds(Event(event_id="e", event_type=kind, severity=severity, timestamp=moment, details=details))


def _rows() -> Iterator[str]:
    yield "| Field | Value | Event has | Answer |"
    yield "| --- | --- | --- | --- |"
    for key, value, found, expected in CASES:
        if _answer(key, value, found) is not expected:
            raise AssertionError(f"{key} is not answered as the table says")
        said = "refused" if expected is _REFUSED else "matches" if expected else "does not match"
        shown = "" if expected is _REFUSED else f"`{found!r}`"
        field = key.replace("|", "\\|")
        yield f"| `{field}` | `{value!r}` | {shown} | {said} |"


def rendered(page: str) -> str:
    """Return the page with the table as the cases have it; `AssertionError` when one is not answered so."""
    table = "\n".join(_rows())
    return re.sub(
        r"(<!-- conformance -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{table}\n\n{found[2]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
