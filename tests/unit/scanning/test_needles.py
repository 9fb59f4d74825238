"""No rule is spared that holds: whatever a text says, the patterns that hold in it are among those left."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.scanning.folding import normalised
from sentinel.scanning.needles import Sieve, needs
from sentinel.scanning.rulebook import load_rules
from sentinel.scanning.view import original

RULES = load_rules()
PATTERNS = [rule.pattern for rule in RULES.rules]


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [
        (r"(?i)\bIgnore\b", [{"ignore"}]),
        (r"ignor(?:e|ing) (?:\w+ ){0,3}rules?\b", [{"ignore ", "ignoring "}, {"rule", "rules"}]),
        (r"(?:follow|obey) .* (?:laws|orders)", [{" laws", " orders"}, {"follow ", "obey "}]),
        (r"organi[sz]e", [{"organise", "organize"}]),
        (r"(?:do not|don.?t) follow", [{" follow"}, {"do not", "don"}]),
        (r"a{3}bc|never mind", [{"never mind", "bc"}]),
        (r"(?:ask){2}", [{"ask"}]),
        (r"(?:please )?stop", [{"stop", "please stop"}]),
        (r"straße\x20\x{df}", [{"strasse ss"}]),
        (r"\(\?\[now\]", [{"(?[now]"}]),
        (r"[[:alpha:]\]]{2}\pL\p{Greek}\d+@\w+", []),
        (r"(?:password)?", []),
        (r"(?:password|\d+)", []),
        (r"no|ok", []),
        (r"\Qas it is\E", []),
    ],
)
def test_what_a_pattern_needs(pattern: str, needed: list[set[str]]) -> None:
    """The words that must stand in a text are read off the pattern; where there are none, nothing is known."""
    re2.compile(pattern)
    usable = [need for need in needed if min(map(len, need)) > 2]
    assert sorted(map(sorted, needs(pattern))) == sorted(map(sorted, usable))


def held(patterns: Iterable[str], text: str) -> set[int]:
    return {place for place, pattern in enumerate(patterns) if re2.search(pattern, text)}


def left(sieve: Sieve, text: str) -> set[int]:
    return {*sieve.always, *sieve.candidates(text)}


WORDS = st.sampled_from(["task", "Kiss", "sky", "straße", "ΟΔΟΣ", "não", "忘记指令", "rule", "as is", "x"])


def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(parts, min_size=1, max_size=3)
    return st.one_of(
        several.map("".join),
        several.map(lambda each: f"(?:{'|'.join(each)})"),
        st.tuples(parts, st.sampled_from(["?", "*", "+", "{2}", "{0,2}", "{1,}?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    )


SHAPES = st.recursive(st.one_of(WORDS, st.sampled_from([r"\b", ".", "[ks]", r"\w", "^", r"[^a]", r"\s"])), joined)
FLAGS = st.sampled_from(["(?i)", "", "(?s)"])
TEXTS = st.lists(
    st.one_of(
        WORDS, WORDS.map(str.upper), st.sampled_from([" ", "K", "\u017f", "\u212a", "ss", "ς", "ta", "SK", "ile", "\n"])
    ),
    max_size=8,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(FLAGS, SHAPES).map("".join), min_size=1, max_size=5), st.lists(TEXTS, min_size=1, max_size=8))
def test_whatever_holds_is_left(patterns: list[str], texts: list[str]) -> None:
    """For any patterns and any texts, in any case and with letters that only look like another case."""
    sieve = Sieve(patterns)
    for text in texts:
        assert held(patterns, text) <= left(sieve, text)


def disguised(text: str) -> Iterable[str]:
    """Yield the text as the same letters to RE2 that are others to Python's `lower`."""
    yield text
    yield text.upper()
    yield text.replace("k", "\u212a").replace("s", "\u017f")


def test_the_examples_of_the_shipped_rules_are_left() -> None:
    """As they stand, in capitals, in letters of the same case folding, and in plain letters."""
    sieve = Sieve(PATTERNS)
    for rule in RULES.rules[::3]:
        for example in rule.flags[:2]:
            for text in disguised(example):
                for view in (original(text), normalised(original(text))):
                    holding = {place for place in range(len(PATTERNS)) if RULES._pattern(place)[0].search(view.text)}
                    assert holding <= left(sieve, view.text), (rule.id, view.text)


def test_hardly_a_rule_is_left_for_harmless_texts() -> None:
    """That is what the sieve is for."""
    sieve = Sieve(PATTERNS)
    assert len(sieve.always) < len(PATTERNS) / 10
    assert (
        len(sieve.candidates("Could you tell me how to cook rice for eight people, with a salad for the evening?")) < 10
    )


def test_letters_that_are_one_to_re2_are_one_to_the_sieve() -> None:
    """Over all of Unicode: what RE2 holds for the same letter but for its case has the same case folding."""
    letters = {letter for pattern in PATTERNS for need in needs(pattern) for needle in need for letter in needle}
    everything = "".join(chr(code) for code in range(sys.maxunicode + 1) if chr(code).isalpha())
    cased = "".join(char for char in everything if char.casefold() != char or char.upper() != char)
    for letter in letters:
        same = re2.findall(f"(?i){re2.escape(letter)}", cased)
        assert {char.casefold() for char in same} <= {letter}, letter
