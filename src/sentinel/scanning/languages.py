"""
The words by which a conversation is understood, in seventeen languages.

`rules/talks/` holds a file of word lists for each language. From them come the rungs of two ladders (see
`conversation.py`): talk about models and their rules that closes in on a model's own, and stories that turn into a
character without limits; besides, how models refuse and under what pretexts people ask again.

A pattern with gaps costs memory and time, and a talk is held in one language or two. So a single RE2 Set of the words
without which no rung is reached says which languages are spoken at all, and only their patterns are made and asked.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

import msgspec
import re2
import yaml

from sentinel.errors import RuleError

__all__ = ["Language", "Languages", "Rungs", "folded", "load_languages"]

_TOPIC_CHARS, _GAP_CHARS = 80, 40
"""How far apart two words of one thought may stand, in the same sentence."""
# Letters are what is no sign and no space: the classes of Unicode's letters would make each pattern ten times as large.
_SIGNS = '\\s"-\\-/:->@\\[-`{-~\u00a0-\u00bf\u060c\u061b\u2000-\u206f\u3001\u3003-\u303f\uff0c\uff1a\uff1b'
_STOPS = ".?!\u3002\uff1f\uff01\u0964\u061f"
_LETTER, _NO_LETTER = f"[^{_SIGNS}{_STOPS}]", f"[{_SIGNS}{_STOPS}]"
_BETWEEN_WORDS, _IN_SENTENCE = f"[{_SIGNS}]", f"[^{_STOPS}]"
_SEPARATORS = re.compile(f"{_NO_LETTER}+")
_MARKS = re.compile("[\u0300-\u036f]+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Kana, Han and Hangul, where what English says with words is said with one letter or two."""
_SHORTEST, _STEM = 3, 6
"""Letters of a word that says something, and those of its beginning that endings leave alone."""


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: alternatives, as `rules/talks/README.md` says they are written."""

    model: str
    """What the assistant is called as a thing."""
    rules: str
    """What it is told to do, by all names."""
    safety: str
    """What such rules are for."""
    such: str
    """Words that point at what was just spoken of."""
    your: str
    """The model's own; before `rules`."""
    given: str
    """Likewise, after `rules`."""
    own: str
    """Likewise, saying both in one."""
    verbatim: str
    """Word for word, and orders to print them."""
    fiction: str
    """Stories and games."""
    hero: str
    """Whom or what a story goes on about."""
    unbound: str
    """Without rules or limits."""
    in_character: str
    """Answer as somebody else would."""
    refusal: str
    """How an assistant says no."""
    pretext: str
    """Under what guise one asks again."""
    filling: str
    """Words that say nothing about what is asked for."""
    spaced: bool = True
    """Whether words stand apart."""


class Rungs(NamedTuple):
    """Compiled patterns: talk, the same talk leaning on earlier turns, the middle and the top of a ladder."""

    topic: Any
    anaphora: Any
    middle: Any
    top: Any


class Language:
    """What one language has for the rungs; patterns are made when first asked."""

    def __init__(self, words: Words) -> None:
        self._words = words
        gap = self._near(_GAP_CHARS)
        self._lists = {
            name: _spelt(text, gap) if isinstance(text := getattr(words, name), str) else ""
            for name in words.__struct_fields__
        }

    @cached_property
    def instructions(self) -> Rungs:
        """The ladder from talk about models to the model's own instructions, word for word."""
        lists = self._lists
        about = f"{lists['rules']}|{lists['safety']}"
        return Rungs(
            _compiled(self._either_way(lists["model"], self._near(_TOPIC_CHARS), about)),
            _compiled(self._either_way(lists["such"], self._few_words(2), about)),
            _compiled(
                self._standing(f"(?:{lists['your']}){self._near(_GAP_CHARS)}(?:{lists['rules']})"),
                self._standing(f"(?:{lists['rules']}){self._few_words(3)}(?:{lists['given']})"),
                self._standing(lists["own"]),
            ),
            _compiled(self._standing(lists["verbatim"])),
        )

    @cached_property
    def character(self) -> Rungs:
        """The ladder from a story to somebody in it who answers without limits."""
        return Rungs(*(_compiled(self.list(name)) for name in ("fiction", "hero", "unbound", "in_character")))

    @cached_property
    def pretext(self) -> Any:
        """The pattern of guises, stories among them."""
        return _compiled(self.list("pretext", "fiction"))

    def list(self, *names: str) -> str:
        """Return a pattern that holds where anything in one of the lists stands."""
        return self._standing("|".join(self._lists[name] for name in names))

    def _standing(self, words: str) -> str:
        return rf"(?:^|{_NO_LETTER})(?:{words})(?:{_NO_LETTER}|$)" if self._words.spaced else f"(?:{words})"

    def _near(self, chars: int) -> str:
        if self._words.spaced:
            return f"{_BETWEEN_WORDS}(?:{_IN_SENTENCE}{{0,{chars}}}?{_BETWEEN_WORDS})?"
        return f"{_IN_SENTENCE}{{0,{chars // 2}}}?"  # where words don't stand apart, letters are fewer

    def _few_words(self, most: int) -> str:
        if self._words.spaced:
            return f"{_BETWEEN_WORDS}+(?:{_LETTER}+{_BETWEEN_WORDS}+){{0,{most}}}"
        return f"{_IN_SENTENCE}{{0,{4 * most}}}?"

    def _either_way(self, first: str, between: str, second: str) -> str:
        there = self._standing(f"(?:{first}){between}(?:{second})")
        return f"{there}|{self._standing(f'(?:{second}){between}(?:{first})')}"


class Languages:
    """
    All languages, asked together. Immutable, and safe to use from many threads.

    Patterns are made for the first conversation: most texts come alone.
    """

    def __init__(self, all_words: Sequence[Words]) -> None:
        self._languages = tuple(map(Language, all_words))
        self._fillings = [words.filling for words in all_words]
        self.version = hashlib.sha256(msgspec.json.encode(all_words)).hexdigest()[:12]
        """Twelve hexadecimal digits that change when any word does."""

    @cached_property
    def _cores(self) -> re2.Set:
        """Tells which languages have a word that a rung can't do without."""
        cores = re2.Set.SearchSet()
        for language in self._languages:
            cores.Add(f"(?i){language.list('model', 'rules', 'fiction', 'verbatim')}")
        cores.Compile()
        return cores

    @cached_property
    def refusal(self) -> Any:
        """The pattern of how an assistant says no."""
        return _compiled(*(language.list("refusal") for language in self._languages))

    @cached_property
    def _filling(self) -> re.Pattern[str]:
        return re.compile("|".join(self._fillings))

    def spoken(self, texts: Iterable[str]) -> list[Language]:
        """Return the languages in which some of the texts, as `folded`, may stand on a rung."""
        heard = {index for text in texts for index in self._cores.Match(text) or ()}
        return [self._languages[index] for index in sorted(heard)]

    def has_pretext(self, text: str) -> bool:
        """Whether a text, as `folded`, asks under a guise."""
        return any(language.pretext.search(text) for language in self._languages)

    def asked_for(self, text: str) -> frozenset[str]:
        """Return what a text, as `folded`, is about: the beginnings of its words, where words stand apart."""
        tokens = _SEPARATORS.split(text.lower())
        return frozenset(part for token in tokens if not self._filling.fullmatch(token) for part in _parts(token))


def load_languages(folder: Traversable | None = None) -> Languages:
    """
    Return the languages of all `*.yaml` files in a folder, by default the shipped ones.

    Raises:
        RuleError: A file can't be used; says which.
    """
    folder = folder or resources.files("sentinel.scanning") / "rules" / "talks"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return Languages([_words_in(file) for file in files])


def folded(text: str) -> str:
    """Return a text without accents on its letters, and without lone surrogates, which RE2 can't take."""
    if text.isascii():
        return text
    whole = text.encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", whole)))


def _words_in(file: Traversable) -> Words:
    text = folded(file.read_text(encoding="utf-8"))
    try:
        return msgspec.convert(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)), Words)  # noqa: S506 - both are safe
    except (yaml.YAMLError, msgspec.ValidationError) as err:
        raise RuleError(str(err), where=file.name) from err


def _spelt(words: str, gap: str) -> str:
    """Return a list with what its short signs stand for."""
    return words.replace(" ", r"\s+").replace("~", f"{_LETTER}*").replace("...", gap)


def _compiled(*patterns: str) -> Any:
    return re2.compile("(?i)" + "|".join(patterns))


def _parts(token: str) -> Iterable[str]:
    if _UNSPACED.search(token):
        return (token[at : at + 2] for at in range(len(token) - 1))
    return (token[:_STEM],) if len(token) >= _SHORTEST else ()
