"""
What a user says over several turns, read together.

An instruction may be cut in pieces that are harmless alone and said one after the other. So the latest turns are also
read joined, in two ways: as they are, and only what each hands over, which stands in quotation marks or after a colon
(`Part two: "..."`), with and without a space where it was cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sentinel.model import Turn
from sentinel.scanning.parts import Joined, Piece, checked, ends, joined
from sentinel.scanning.rulebook import RuleBook

__all__ = ["turns_joined"]

_EARLIER = 7
"""Turns of the user before the prompt that are read together with it."""
_LATEST = 3
"""What is found must touch one of so many turns: an old attack is no reason to blame what is said long after."""
_MOST_CHARS = 1000
"""Of what a turn hands over."""
_QUOTED = re.compile(
    r"(?s)[\"'`\u00ab\u2018\u201c\u201e\u300c]([^\"`\u00bb\u201c\u201d\u300d]{2,})[\"'`\u00bb\u2019\u201c\u201d\u300d]"
)
_LABELLED = re.compile(r"(?s)^[^:=\uff1a\n]{1,60}[:=\uff1a]\s*(\S.*)")


def turns_joined(history: Sequence[Turn], prompt: str, rules: RuleBook) -> list[Joined]:
    """
    Return the user's latest turns, the prompt last, as one text or more; nothing when the prompt is the first.

    Raises:
        InputTooLong: A turn is longer than 2 MiB.
    """
    earlier = [(f"history:{index}", turn.text) for index, turn in enumerate(history) if turn.role == "user"]
    if not earlier or not prompt:
        return []
    said = [(place, checked("history", text)) for place, text in earlier[-_EARLIER:]]
    said.append(("prompt", checked("prompt", prompt)))
    latest = frozenset(place for place, _ in said[-_LATEST:])
    together = [joined([piece for place, text in said for piece in ends(place, text)], "\n", rules, latest)]
    if len(handed := [piece for place, text in said for piece in _handed_over(place, text)]) > 1:
        together += [joined(handed, glue, rules, latest) for glue in ("", " ")]
    return together


def _handed_over(place: str, text: str) -> list[Piece]:
    """Return the one thing that a turn names, quoted or after a colon."""
    if found := _QUOTED.search(text) or _LABELLED.match(text):
        return [Piece(place, found.start(1), found[1][:_MOST_CHARS])]
    return []
