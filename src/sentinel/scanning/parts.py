"""
The parts of one input, each read as a text of its own.

An instruction may be cut in pieces that are harmless alone and laid into several documents. So documents are also read
joined, in their order; what is found across a boundary is reported in every document that it touches. So are the turns
of a conversation, in `turns.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from sentinel.errors import InputTooLong
from sentinel.model import Finding, ToolCall
from sentinel.scanning.context import AnalysisContext
from sentinel.scanning.rulebook import RuleBook
from sentinel.scanning.text import ENDLESS, NOTHING, Ahead, Text, Time, read

__all__ = [
    "MAX_BYTES",
    "Joined",
    "Part",
    "Piece",
    "checked",
    "documents_joined",
    "ends",
    "joined",
    "named_place",
    "parts_of",
]

MAX_BYTES = 2 * 2**20
"""Of each text, as UTF-8. Longer ones are refused: judged in part they would pass as judged."""
_MAX_VALUES = 10_000
"""In the arguments of one call."""
_NAME = re.compile(r"[A-Za-z][A-Za-z_]{0,23}")
_NO_SPACES = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
"""Kana and Han."""
_SEAM_CHARS = 1000
"""Of each end of a text, what is read together with its neighbour."""


class Part(NamedTuple):
    """
    A text and its place in the input: `prompt`, `response`, `document:0`, `tool_call:1.path`, `tool_call:1.result`, ...

    To an engine, everything that came from outside reads like a prompt.
    """

    place: str
    text: Text
    is_argument: bool = False
    """Whether it is an argument of a call: code and data more often than language."""


class Piece(NamedTuple):
    """Something cut out of a text: where that text stands in the input, where the piece begins in it, what it says."""

    place: str
    offset: int
    text: str


class Joined(NamedTuple):
    """Pieces of several texts, read as one."""

    text: Text
    pieces: tuple[tuple[int, Piece], ...]
    """Each with where it begins in the joined text, in order."""
    latest: frozenset[str] = frozenset()
    """Places of which a finding must touch one; none: any will do."""

    def placed(self, finding: Finding) -> Iterator[Finding]:
        """Yield a finding that crosses a boundary once for each piece that it touches, and any other not at all."""
        start, end = finding.span
        touched = [
            (piece.place, piece.offset + max(start - at, 0), piece.offset + min(end - at, len(piece.text)))
            for at, piece in self.pieces
            if start < at + len(piece.text) and end > at
        ]
        places = {place for place, _, _ in touched}
        if len(places) > 1 and (not self.latest or self.latest & places):
            for place, low, high in touched:
                yield msgspec.structs.replace(finding, source=place, span=(low, high))


def parts_of(
    prompt: str,
    response: str | None,
    context: AnalysisContext,
    rules: RuleBook,
    *,
    time: Time = ENDLESS,
    ahead: Ahead = NOTHING,
) -> list[Part]:
    """
    Return all that is judged of an input: prompt, response, documents, arguments and results of tools.

    Raises:
        TypeError: A text is no `str`.
        InputTooLong: A text is longer than 2 MiB.
    """
    parts = [Part("prompt", read("prompt", checked("prompt", prompt), rules, time, ahead))]
    if response is not None:
        parts.append(Part("response", read("response", checked("response", response), rules, time, ahead)))
    surroundings = _surroundings(context) if context.retrieved_documents or context.tool_calls else ()
    for place, text, is_argument in surroundings:
        parts.append(Part(place, read("prompt", checked(place, text), rules, time), is_argument))
    return parts


def documents_joined(documents: Sequence[str], rules: RuleBook) -> list[Joined]:
    """Return the ends of the documents, in their order, as one text; nothing when there is nothing to join."""
    if len(documents) < 2:  # noqa: PLR2004 - one document has no neighbour
        return []
    pieces = [piece for number, text in enumerate(documents) for piece in ends(f"document:{number}", text)]
    return [joined(pieces, "\n", rules)]


def joined(pieces: Sequence[Piece], glue: str, rules: RuleBook, latest: frozenset[str] = frozenset()) -> Joined:
    """
    Return pieces as one text, with `glue` where they meet; with nothing between letters that no spaces stand between.

    Raises:
        InputTooLong: Together they are longer than 2 MiB.
    """
    parts: list[str] = []
    placed: list[tuple[int, Piece]] = []
    length = 0
    for piece in pieces:
        seam = glue if parts and not (_NO_SPACES.match(parts[-1][-1:]) and _NO_SPACES.match(piece.text)) else ""
        parts += [seam, piece.text]
        if piece.text:
            placed.append((length + len(seam), piece))
        length += len(seam) + len(piece.text)
    return Joined(read("prompt", checked("documents", "".join(parts)), rules), tuple(placed), latest)


def ends(place: str, text: str) -> list[Piece]:
    """Return what is read together with a text's neighbours: its beginning and its end, or all of a short one."""
    if len(text) <= 2 * _SEAM_CHARS:
        return [Piece(place, 0, text)]
    return [Piece(place, 0, text[:_SEAM_CHARS]), Piece(place, len(text) - _SEAM_CHARS, text[-_SEAM_CHARS:])]


def checked(place: str, text: str) -> str:
    """
    Return the text with each lone surrogate, which UTF-8 and so RE2 can't carry, replaced by one character.

    Raises:
        TypeError: It is no `str`.
        InputTooLong: It is longer than 2 MiB.
    """
    if not isinstance(text, str):
        raise TypeError(f"the {place} must be a str, not {type(text).__name__}")
    if text.isascii():
        clean, size = text, len(text)
    else:
        octets = text.encode("utf-8", "surrogatepass")
        # Surrogates take three bytes, and so does their replacement.
        clean, size = _without_surrogates(text, octets), len(octets)
    if size > MAX_BYTES:
        raise InputTooLong(f"the {place} is longer than {MAX_BYTES} bytes; split it and scan the parts")
    return clean


def named_place(place: str) -> str:
    """Return a place in a call that says `argument` for an argument whose name may be anything: it is scanned text."""
    call, dot, name = place.partition(".")
    return place if not dot or _NAME.fullmatch(name) else f"{call}.argument"


def _without_surrogates(text: str, octets: bytes) -> str:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def _surroundings(context: AnalysisContext) -> Iterator[tuple[str, str, bool]]:
    for number, document in enumerate(context.retrieved_documents):
        yield f"document:{number}", document, False
    for number, call in enumerate(context.tool_calls):
        for name, value in _arguments(number, call):
            shown = "argument" if name == "result" else name
            yield named_place(f"tool_call:{number}.{shown}"), value, True
        if call.result is not None:
            yield f"tool_call:{number}.result", call.result, False


def _arguments(number: int, call: ToolCall) -> Iterator[tuple[str, str]]:
    """Yield all texts in the arguments, however deep, each with the nearest key; inner keys are texts too."""
    waiting: list[tuple[str, object]] = list(call.arguments.items())[::-1]
    seen = 0
    while waiting:
        name, value = waiting.pop()
        seen += 1
        if seen > _MAX_VALUES:
            raise InputTooLong(f"the tool_call:{number} holds more than {_MAX_VALUES} values; scan it in parts")
        match value:
            case str():
                yield name, value
            case bytes():
                yield name, value.decode("utf-8", "replace")
            case dict():
                waiting += [(str(key), inner) for key, inner in value.items()][::-1]
                waiting += [(name, key) for key in value if isinstance(key, str)][::-1]
            case list() | tuple() | set() | frozenset():
                waiting += [(name, inner) for inner in value][::-1]
            case _:
                pass  # numbers and flags carry no words
