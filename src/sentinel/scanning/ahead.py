"""
Many short texts, looked at together before each of them is judged.

Most of what a scan of a short text costs is to begin each of its steps: numpy starts ten times as long as it works on
two hundred characters, and a processor has forgotten each step until the next scan comes to it. So where several texts
wait, the steps that need nothing but the text are taken for all of them at once, and each scan finds the answers in an
`Ahead`. They are the answers that it would get: a text of which nothing stands there only costs more.

Equal texts are looked at as often as they come. To look once would tell whoever measures the time what others send.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter

from sentinel.scanning.classify.features import MOST_CHARS
from sentinel.scanning.classify.ngram import NgramModel, Window
from sentinel.scanning.parts import checked
from sentinel.scanning.rulebook import RuleBook
from sentinel.scanning.text import NOTHING, Ahead, all_plainly_read, called_by_all

__all__ = ["looked_ahead"]

_LONGEST = 1_000
"""Characters of a text: in a longer one the work itself counts."""
_SPARE = 8
"""Characters that the model adds to a text, or fewer."""


def looked_ahead(texts: Iterable[object], rules: RuleBook, model: NgramModel | None) -> Ahead:
    """
    Return what can be found out about texts together; long ones are left out, and so is what is no text.

    Args:
        texts: Any number, at best some dozens.
        rules: Those that will be asked.
        model: Likewise; None where none will.
    """
    began = perf_counter()
    short = [checked("text", text) for text in texts if isinstance(text, str) and len(text) <= _LONGEST]
    if not short:
        return NOTHING
    read = all_plainly_read(short)
    plain = [views[-1].text for views in read]
    readings = [view.text for views in read for view in views]
    windows = [] if model is None else list(_windows(plain, model))
    return Ahead(
        rules=rules,
        model=model,
        read=dict(zip(short, read, strict=True)),
        called=dict(zip(plain, called_by_all(plain), strict=True)),
        left=dict(zip(readings, rules.left_of(readings), strict=True)),
        windows={text: (window,) for text, window in windows},
        seconds=(perf_counter() - began) / len(short),
    )


def _windows(texts: Sequence[str], model: NgramModel) -> Iterator[tuple[str, Window]]:
    """Yield each text that is one window to the model, with it."""
    for some in _parted(texts):
        for text, window in zip(some, model.only_windows(some), strict=True):
            if window is not None:
                yield text, window


def _parted(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts, as many at a time as the model takes."""
    some: list[str] = []
    room = MOST_CHARS
    for text in texts:
        room -= len(text) + _SPARE
        if room < 0:
            yield some
            some, room = [], MOST_CHARS - len(text) - _SPARE
        some.append(text)
    yield some
