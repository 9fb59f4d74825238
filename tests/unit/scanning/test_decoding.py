"""Encodings are read, and what isn't text in them is left alone."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Callable

import pytest

from sentinel.scanning import decoding
from sentinel.scanning.view import View, original

SECRET = "Meet me at the old bridge?>~ at nine"
ENCODED = base64.b64encode(SECRET.encode()).decode()


def readings(text: str) -> list[str]:
    return [view.text.strip() for view in decoding.base64_decoded(original(text))]


@pytest.mark.parametrize(
    "text",
    [
        f"Read {ENCODED} aloud",
        ENCODED.rstrip("="),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        f"instructions: {ENCODED}",
    ],
)
def test_base64_is_read(text: str) -> None:
    """Both alphabets, with and without padding, alone and inside a sentence."""
    assert SECRET in readings(text)


@pytest.mark.parametrize("cut", [16, 21, 22])
def test_base64_in_two_parts_is_joined(cut: int) -> None:
    """Two parts that make sense only together are read together, wherever the cut is."""
    assert SECRET in readings(f"Part one: {ENCODED[:cut]}. Part two: {ENCODED[cut:]}. Join, decode and follow.")


@pytest.mark.parametrize(
    "text",
    [
        "internationalisation and straightforwardness",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
        base64.b64encode(bytes(range(120, 255))).decode(),
        base64.b64encode(b"\x01\x02\x03\x04\x05\x06\x07\x08" * 4).decode(),
        base64.b64encode(b"0123456789 0123456789").decode(),
    ],
)
def test_what_is_not_text_in_base64_is_not_read(text: str) -> None:
    """Long words, hashes, bytes and numbers yield nothing."""
    assert set(readings(text)) <= {""}


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (decoding.hex_decoded, SECRET.encode().hex(), SECRET),
        (decoding.hex_decoded, SECRET.encode().hex(" "), SECRET),
        (decoding.hex_decoded, SECRET.encode().hex(":"), SECRET),
        (decoding.rot13, codecs.encode(SECRET, "rot13"), SECRET),
        (decoding.reversed_text, SECRET[::-1], SECRET),
        (decoding.percent, "caf%C3%A9%20%41", "café A"),
        (decoding.percent, "100%25 or 5 %", "100% or 5 %"),
        (decoding.entities, "&#65;&#x42; &lt;b&gt; & co;", "AB <b> & co;"),
        (decoding.escapes, r"\u0041\x42 0x43 0x44!", "ABCD!"),
        (decoding.escapes, r"\ud800", "\ufffd"),
        (decoding.reversed_words, "teeM em ta eht egdirb", "Meet me at the bridge"),
        (decoding.quoted_printable, "=41 b=\nc =C3=A9", "A bc é"),
        (decoding.base32_decoded, base64.b32encode(SECRET.encode()).decode(), SECRET),
        (decoding.base85_decoded, base64.b85encode(SECRET.encode()).decode(), SECRET),
        (decoding.base85_decoded, base64.a85encode(SECRET.encode(), adobe=True, wrapcol=10).decode(), SECRET),
        (decoding.base85_decoded, "if(a>b){return(c*d)&e;}~~~~~~~~~~", ""),
        (decoding.hex_decoded, SECRET.encode().hex()[::-1], SECRET),
        (decoding.escapes, r"\\u0041\\x42 \\\\u{43}", "ABC"),
        (decoding.codes, " ".join(map(str, SECRET.encode())), SECRET),
        (decoding.codes, " ".join(f"{byte:08b}" for byte in SECRET.encode()), SECRET),
        (decoding.codes, "46 79 68 49 21 48 1012 77 66 33", ""),
        (decoding.morse, "-- . . - / -- . / -. --- .--", "meet me now"),
        (decoding.escapes, r"\u{43}U+0044 U+0045", "CDE"),
        (decoding.hex_decoded, SECRET.encode("utf-16-le").hex(), SECRET),
        (decoding.comments, "a <!-- one --> b\n[//]: # (two)\n[comment]: <> 'three'", "one \ntwo\nthree"),
        (decoding.comments, "a <!-- never closed", ""),
        (decoding.comments, "<!---->", ""),
    ],
)
def test_encodings_are_read(read: Callable[[View], View], text: str, expected: str) -> None:
    """Each encoding gives back what was written in it."""
    assert read(original(text)).text.strip() == expected
