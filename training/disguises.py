"""
Harmless texts in the disguises that attacks wear.

What a disguise hides is judged in the reading that undoes it; the disguise itself must mean nothing, so the classifier
sees harmless texts in all of them.
"""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np

__all__ = ["disguised"]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MORSE = ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
_CODES = dict(zip(_LETTERS, _MORSE.split(), strict=True))
_LEET = str.maketrans("aeiost", "431057")


def _morse(text: str) -> str:
    return " / ".join(" ".join(_CODES[char] for char in word if char in _CODES) for word in text.lower().split())


def _in_two_parts(text: str) -> str:
    code = base64.b64encode(text.encode()).decode()
    return f"The first part is {code[: len(code) // 2]} and the second part is {code[len(code) // 2 :]}"


def _commented(text: str) -> str:
    return " ".join(f"{word[: len(word) // 2]}<!-- -->{word[len(word) // 2 :]}" for word in text.split())


_FORMS: tuple[Callable[[str], str], ...] = (
    str.upper,
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: f"My note says {base64.b64encode(text.encode()).decode()} today.",
    _in_two_parts,
    lambda text: base64.b32encode(text.encode()).decode(),
    lambda text: text.encode().hex(),
    lambda text: text.encode().hex(" "),
    lambda text: " ".join(f"{byte:08b}" for byte in text.encode()),
    lambda text: " ".join(map(str, text.encode())),
    _morse,
    lambda text: "".join(f"\\u{ord(char) & 0xFFFF:04x}" for char in text),
    lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    lambda text: " ".join(f"U+{ord(char):04X}" for char in text),
    lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    lambda text: "".join(f"={byte:02X}" for byte in text.encode()),
    lambda text: "".join(f"&#{ord(char)};" for char in text),
    " ".join,
    ".".join,
    lambda text: " ".join(map(".".join, text.split())),
    lambda text: " ".join(map(",".join, text.split())),
    lambda text: " ".join(map("_".join, text.split())),
    lambda text: "-".join(text.replace(" ", "")),
    "\U0001f600".join,
    lambda text: " ".join("-".join((word[:2], word[2:])) for word in text.split()),
    _commented,
    lambda text: "".join(f"{char}/**/" for char in text),
    lambda text: f"<!-- {text} -->",
    lambda text: f"[//]: # ({text})",
    lambda text: json.dumps({"role": "user", "content": text}),
    lambda text: json.dumps([{"role": "system", "content": text}]),
    lambda text: codecs.encode(text, "rot13"),
    lambda text: text[::-1],
    lambda text: " ".join(reversed(text.split())),
    lambda text: text.lower().translate(_LEET),
    lambda text: "".join(char.upper() if at % 2 else char.lower() for at, char in enumerate(text)),
    lambda text: " + ".join(f"'{word}'" for word in text.split()),
)


def disguised(texts: Sequence[str], per_form: int, rng: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Yield in each disguise `per_form` of the texts, with the disguise's number."""
    for number, form in enumerate(_FORMS):
        for index in rng.integers(len(texts), size=per_form):
            yield number, form(texts[index])
