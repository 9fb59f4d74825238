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
from functools import cache
from itertools import groupby
from urllib.parse import unquote

import re2

from sentinel.scanning.folding import closable
from sentinel.scanning.view import Edit, View, edited, excerpted, mirrored, translated

__all__ = [
    "BASE85",
    "base32_decoded",
    "base64_decoded",
    "base85_decoded",
    "codes",
    "comments",
    "entities",
    "escapes",
    "hex_decoded",
    "morse",
    "percent",
    "quoted_printable",
    "reversed_text",
    "reversed_words",
    "rot13",
]

_READABLE_SHARE = 0.9
"""Of a decoding, the least share of characters that print; random bytes that happen to be UTF-8 stay far below."""
_BITS = 8
_LETTER_SHARE = 0.5
"""Of a decoding, the least share of letters and spaces; keeps decoded numbers and tables out."""
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff\U000e0001-\U000e007f]+")
"""What a decoding may be full of and still be a text; its own reading takes it out."""
_HEX_ALONE = re.compile(r"(?=[^A-Fa-f]*[A-Fa-f])(?:[0-9A-Fa-f]{2}[ :,]?){8,}+", re.ASCII)
"""A decoding to be decoded again."""

# RE2 wherever a repetition is in a repetition, or a run may lack its end: `re` would be quadratic in the run. Where
# `re` repeats a group it must not try fewer (`++`): it would keep a note of each round, forty bytes and more.
_WORD = re.compile(r"[^\W\d_]{2,}")
_BASE32_CHUNK = re.compile(r"\b[A-Z2-7]{16,}={0,6}", re.ASCII)
# Ascii85 has quotes and commas too, so only its marks tell it from a text; base85 (RFC 1924) has them not.
_BASE85_LETTER, _SIGN = r"[!#-&(-+\-0-9;-Z^-~]", "[!#-&(-+;-@^`{-~]"
BASE85 = f"<~[!-uz]{{5}}|{_BASE85_LETTER}{{19}}{_SIGN}|{_SIGN}{_BASE85_LETTER}{{19}}"
"""A pattern for a run of base85 that is no mere name."""
_BASE85_CHUNK = re2.compile(rf"<~[!-uz\s]+~>|{_BASE85_LETTER}{{20,}}")
_SIGNS = re.compile(_SIGN)
_LEAST_SIGNS = 2
"""Characters of a base85 chunk that stand in no name or number; of written language about one in ten is such a one."""
_NUMBERS = re2.compile(r"(?:\b[01]{8}\b[ ,]*){6,}|(?:\b(?:3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6])\b[ ,]*){8,}")
_MORSE = re2.compile(r"(?:[.\-/|]+ +){7,}[.\-/|]+")
_SOFT_BYTE = re.compile(r"(?:=[0-9A-F]{2})++|=\r?\n")
_BASE64_PIECES = re2.compile(r"(?:[A-Za-z0-9+/]{2,}[\s.,:;|-]+){3,}[A-Za-z0-9+/]+={0,2}")
_LEAST_PIECES = 2
_PIECE = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_BASE64_CHUNK = re.compile(r"[A-Za-z0-9+/_-]{10,}={0,2}")
_HEX_CHUNK = re.compile(r"(?:[0-9A-Fa-f]{2}[ :,]?){8,}+")
_NOT_HEX = re.compile("[ :,]")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})++")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,31}[0-9]{0,2});")
# JSON in JSON doubles the backslash.
_ESCAPE = re.compile(
    r"(?:\\{1,4}u|U\+)\{?00[0-9A-Fa-f]{2}\}? ?|\\{1,4}u(?:[0-9A-Fa-f]{4}|\{[0-9A-Fa-f]{1,5}\})"
    r"|(?:\\{1,4}|0)x[0-9A-Fa-f]{2}[ ,]?"
)
_NOT_ESCAPED_HEX = re.compile(r"^(?:\\{1,4}[ux]|U\+|0x)\{?|[}, ]+$")
_COMMENT = re.compile("<!--(.*?)-->", re.DOTALL)
_MARKDOWN_COMMENT = re2.compile(r"(?i)\[(?://|comment)\]: *(?:#|<>) *[(\"']([^\n]*)[)\"']")
_ROT13 = str.maketrans(string.ascii_letters, "".join(codecs.encode(letter, "rot13") for letter in string.ascii_letters))


def rot13(source: View) -> View:
    """Return the text with each Latin letter moved by 13."""
    return translated("rot13", source, source.text.translate(_ROT13))


def reversed_text(source: View) -> View:
    """Return the text read from its end."""
    return mirrored("reversed", source)


def reversed_words(source: View) -> View:
    """Return the text with each word read from its end, the words in their order."""
    words = _WORD.finditer
    return edited("reversed_words", source, lambda: ((*word.span(), word[0][::-1]) for word in words(source.text)))


def quoted_printable(source: View) -> View:
    """Return the text with `=41` read as `A` and `=` at the end of a line taken out (RFC 2045, section 6.7)."""
    return _in_place("quoted_printable", source, _SOFT_BYTE, _from_soft_bytes)


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
    bodies = [(*match.span(1), match[1]) for match in _COMMENT.finditer(closable(source.text, "<!--", "-->"))]
    if "]:" in source.text:
        bodies += [(*match.span(1), match[1]) for match in _MARKDOWN_COMMENT.finditer(source.text)]
    return excerpted("comments", source, _together(sorted(bodies)))


def _together(passages: Iterable[Edit]) -> Iterator[Edit]:
    """Yield sorted passages, of those that overlap each part once."""
    at = 0
    for start, end, passage in passages:
        if end > at:
            low = max(start, at)
            yield low, end, passage[low - start :]
            at = end


def hex_decoded(source: View) -> View:
    """Return what the runs of hexadecimal bytes in the text spell."""
    return excerpted("hex", source, _decoded(_HEX_CHUNK.finditer(source.text), _from_hex))


def base64_decoded(source: View) -> Iterator[View]:
    """Yield what each base64 chunk spells (also URL-safe), then what all of them spell when joined; if anything."""
    chunks = [match for match in _BASE64_CHUNK.finditer(source.text) if _looks_encoded(match[0])]
    if spelt := list(_decoded(chunks, _from_base64)):
        yield excerpted("base64", source, spelt)
    if len(chunks) > 1 and (joined := _from_base64("".join(chunk[0].rstrip("=") for chunk in chunks))):
        yield excerpted("base64_joined", source, [(chunks[0].start(), chunks[-1].end(), joined)])
    if pieces := list(_from_pieces(source.text)):
        yield excerpted("base64_pieces", source, pieces)


def base32_decoded(source: View) -> View:
    """Return what the runs of base32 in the text spell."""
    return excerpted("base32", source, _decoded(_BASE32_CHUNK.finditer(source.text), _from_base32))


def base85_decoded(source: View) -> View:
    """Return what the runs of base85 (as git has it) and of Ascii85 between `<~` and `~>` spell."""
    return excerpted("base85", source, _decoded(_BASE85_CHUNK.finditer(source.text), _from_base85))


def codes(source: View) -> View:
    """Return what runs of character codes, decimal (`73 103`) or binary (`01001001`), spell."""
    return excerpted("codes", source, _decoded(_NUMBERS.finditer(source.text), _from_numbers))


def morse(source: View) -> View:
    """Return what runs of Morse code (ITU-R M.1677-1) spell; a stroke stands between words."""
    return excerpted("morse", source, _decoded(_MORSE.finditer(source.text), _from_morse))


_MORSE_CODES = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
)
_MORSE_LETTERS = dict(zip(_MORSE_CODES.split(), string.ascii_lowercase, strict=True)) | {"/": " ", "|": " "}


def _from_morse(run: str) -> str:
    return "".join(_MORSE_LETTERS.get(code, "") for code in run.split())


def _from_numbers(run: str) -> str:
    numbers = run.replace(",", " ").split()
    base = 2 if len(numbers[0]) == _BITS else 10
    return _readable(bytes(int(number, base) for number in numbers))


def _from_base32(chunk: str) -> str:
    bare = chunk.rstrip("=")
    # Only these lengths modulo eight hold whole bytes (RFC 4648, section 6).
    bare = bare[: len(bare) - {1: 1, 3: 1, 6: 1}.get(len(bare) % 8, 0)]
    return _readable(base64.b32decode(bare + "=" * (-len(bare) % 8)))


def _from_base85(chunk: str) -> str:
    try:
        if chunk.endswith("~>") and chunk.startswith("<~"):
            return _readable(base64.a85decode(chunk, adobe=True))
        if len(_SIGNS.findall(chunk)) < _LEAST_SIGNS:
            return ""
        return _readable(base64.b85decode(chunk))
    except ValueError:  # a group of five that is larger than four bytes
        return ""


def _from_soft_bytes(run: str) -> str:
    return "" if run.endswith("\n") else unquote(run.replace("=", "%"))


def _from_pieces(text: str) -> Iterator[Edit]:
    """Yield what base64 spells that is broken by spaces, line ends or punctuation."""
    for run in _BASE64_PIECES.finditer(text):
        if sum(map(_looks_encoded, _PIECE.findall(run[0]))) < _LEAST_PIECES:
            continue  # so it is with words, of which most runs are made
        for encoded, group in groupby(_PIECE.finditer(run[0]), lambda piece: _looks_encoded(piece[0])):
            pieces = list(group) if encoded else []
            if len(pieces) >= _LEAST_PIECES and (decoded := _from_base64("".join(piece[0] for piece in pieces))):
                yield run.start() + pieces[0].start(), run.start() + pieces[-1].end(), decoded


def _unescaped(escape: str) -> str:
    char = chr(int(_NOT_ESCAPED_HEX.sub("", escape), 16))
    return "\ufffd" if "\ud800" <= char <= "\udfff" else char


def _in_place(name: str, source: View, pattern: re.Pattern[str], decode: Callable[[str], str]) -> View:
    # A long text full of codes repeats them.
    known = cache(decode)
    return edited(name, source, lambda: ((*match.span(), known(match[0])) for match in pattern.finditer(source.text)))


def _decoded(chunks: Iterable[re.Match[str]], decode: Callable[[str], str]) -> Iterator[Edit]:
    for chunk in chunks:
        if text := decode(chunk[0]):
            yield *chunk.span(), text


def _looks_encoded(chunk: str) -> bool:
    """Whether a chunk is anything but a plain word: words are letters of one case after the first."""
    return not chunk.isalpha() or not (chunk[1:].islower() or chunk.isupper())


def _from_base64(chunk: str) -> str:
    """Return what base64 spells, or what it spells when read from its end."""
    bare = chunk.strip("=").replace("-", "+").replace("_", "/")
    return _from_sextets(bare) or _from_sextets(bare.replace("=", "")[::-1])


def _from_sextets(bare: str) -> str:
    # A single left-over character carries six bits, less than a byte.
    bare = bare[: len(bare) - (len(bare) % 4 == 1)]
    return _readable(binascii.a2b_base64(bare + "=" * (-len(bare) % 4)))


def _from_hex(chunk: str) -> str:
    """Return what hexadecimal bytes spell, or what they spell when read from their end."""
    digits = _NOT_HEX.sub("", chunk)
    return _readable(binascii.unhexlify(digits)) or _readable(binascii.unhexlify(digits[::-1]))


def _readable(data: bytes) -> str:
    """Return the bytes as text if they are text that somebody could read, else nothing."""
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError:
        return ""
    shown = _UNSEEN.sub("", text)
    spaces = sum(map(str.isspace, shown))
    # Of the spaces only the plain one prints.
    printable = sum(map(str.isprintable, shown)) + spaces - shown.count(" ")
    letters = sum(map(str.isalpha, shown)) + spaces
    is_language = letters >= _LETTER_SHARE * len(shown) or _HEX_ALONE.fullmatch(shown) is not None
    readable = is_language and printable >= _READABLE_SHARE * len(shown)
    return text if readable else ""


def _encoding(data: bytes) -> str:
    """Return UTF-16 in the byte order in which every other byte of the beginning is 0, else UTF-8."""
    if data[1:8:2] == b"\0\0\0\0":
        return "utf-16-le"
    return "utf-16-be" if data[0:8:2] == b"\0\0\0\0" else "utf-8"
