"""
Readings that undo an encoding.

Each costs time linear in the text and fails quietly: what doesn't decode to readable text isn't in that encoding,
and there is nothing to read.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import string
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import unquote

import re2

from sentinel.scanning.view import Edit, View, edited, excerpted, mirrored, translated

__all__ = ["base64_decoded", "comments", "entities", "escapes", "hex_decoded", "percent", "reversed_text", "rot13"]

_READABLE_SHARE = 0.9
"""Of a decoding, the least share of characters that print; random bytes that happen to be UTF-8 stay far below."""
_LETTER_SHARE = 0.5
"""Of a decoding, the least share of letters and spaces; keeps decoded numbers and tables out."""

_BASE64_CHUNK = re.compile(r"[A-Za-z0-9+/_-]{10,}={0,2}")
_URL_SAFE = str.maketrans("-_", "+/")
_HEX_CHUNK = re.compile(r"(?:[0-9A-Fa-f]{2}[ :,]?){8,}")
_NOT_HEX = re.compile("[ :,]")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,31}[0-9]{0,2});")
_ESCAPE = re.compile(r"\\u[0-9A-Fa-f]{4}|(?:\\|0)x[0-9A-Fa-f]{2}[ ,]?")
# RE2: `re` would try each unclosed `<!--` to the end of the text, which is quadratic.
_COMMENT = re2.compile(r"(?si)<!--(.*?)-->|\[(?://|comment)\]: *(?:#|<>) *[(\"']([^\n]*)[)\"']")
_ROT13 = str.maketrans(string.ascii_letters, "".join(codecs.encode(letter, "rot13") for letter in string.ascii_letters))


def rot13(source: View) -> View:
    """Return the text with each Latin letter moved by 13."""
    return translated("rot13", source, source.text.translate(_ROT13))


def reversed_text(source: View) -> View:
    """Return the text read from its end."""
    return mirrored("reversed", source)


def percent(source: View) -> View:
    """Return the text with `%41` read as `A`."""
    return _in_place("percent", source, _PERCENT, unquote)


def entities(source: View) -> View:
    """Return the text with `&#65;` and `&amp;` read as the characters that they name."""
    return _in_place("entities", source, _ENTITY, html.unescape)


def escapes(source: View) -> View:
    r"""Return the text with `\u0041`, `\x41` and `0x41` read as `A`."""
    return _in_place("escapes", source, _ESCAPE, _unescaped)


def comments(source: View) -> View:
    """Return the bodies of HTML comments (`<!-- -->`) and of markdown's (`[//]: # ()`), which readers don't see."""
    matches = ((match, 1 if match[1] is not None else 2) for match in _COMMENT.finditer(source.text))
    bodies = (Edit(match.start(group), match.end(group), match[group]) for match, group in matches)
    return excerpted("comments", source, bodies)


def hex_decoded(source: View) -> View:
    """Return what the runs of hexadecimal bytes in the text spell."""
    return excerpted("hex", source, _decoded(_HEX_CHUNK.finditer(source.text), _from_hex))


def base64_decoded(source: View) -> Iterator[View]:
    """Yield what each base64 chunk spells (also URL-safe), then what all of them spell when joined."""
    chunks = [match for match in _BASE64_CHUNK.finditer(source.text) if _looks_encoded(match[0])]
    yield excerpted("base64", source, _decoded(chunks, _from_base64))
    if len(chunks) > 1:
        joined = _from_base64("".join(chunk[0].rstrip("=") for chunk in chunks))
        yield excerpted("base64_joined", source, [Edit(chunks[0].start(), chunks[-1].end(), joined)] if joined else [])


def _unescaped(escape: str) -> str:
    char = chr(int(escape[2:].rstrip(" ,"), 16))
    return "\ufffd" if "\ud800" <= char <= "\udfff" else char


def _in_place(name: str, source: View, pattern: re.Pattern[str], decode: Callable[[str], str]) -> View:
    matches = pattern.finditer(source.text)
    return edited(name, source, (Edit(match.start(), match.end(), decode(match[0])) for match in matches))


def _decoded(chunks: Iterable[re.Match[str]], decode: Callable[[str], str]) -> Iterator[Edit]:
    for chunk in chunks:
        if text := decode(chunk[0]):
            yield Edit(chunk.start(), chunk.end(), text)


def _looks_encoded(chunk: str) -> bool:
    """Whether a chunk is anything but a plain word: words are letters of one case after the first."""
    return not chunk.isalpha() or not (chunk[1:].islower() or chunk.isupper())


def _from_base64(chunk: str) -> str:
    bare = chunk.rstrip("=").translate(_URL_SAFE)
    # A single left-over character carries six bits, less than a byte.
    bare = bare[: len(bare) - (len(bare) % 4 == 1)]
    return _readable(base64.b64decode(bare + "=" * (-len(bare) % 4)))


def _from_hex(chunk: str) -> str:
    return _readable(binascii.unhexlify(_NOT_HEX.sub("", chunk)))


def _readable(data: bytes) -> str:
    """Return the bytes as text if they are text that somebody could read, else nothing."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ""
    printable = sum(char.isprintable() or char.isspace() for char in text)
    letters = sum(char.isalpha() or char.isspace() for char in text)
    readable = printable >= _READABLE_SHARE * len(text) and letters >= _LETTER_SHARE * len(text)
    return text if readable else ""
