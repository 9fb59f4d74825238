"""Word lists by language become the patterns by which conversations are understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinel.errors import RuleError
from sentinel.scanning.languages import Language, folded, load_languages

SHIPPED = load_languages()
WORDS = """
model: bot
rules: law|decree
safety: calm
such: those
your: thy
given: thee
own: told thee
verbatim: word by word|quote~
fiction: tale
hero: knight
unbound: without laws
in_character: speak...as (?:him|her)
refusal: nay
pretext: what if
filling: the
"""


def one(folder: Path, words: str = WORDS, more: str = "") -> Language:
    (folder / "old.yaml").write_text(words + more, encoding="utf-8")
    [language] = load_languages(folder).spoken(["a tale of a bot"])
    return language


@pytest.mark.parametrize(
    ("ladder", "rung", "text", "holds"),
    [
        ("instructions", "topic", "Hath a bot any law?", True),
        ("instructions", "topic", "The law binds no bot", True),
        ("instructions", "topic", "A bot. The law.", False),
        ("instructions", "topic", "A robot and the law", False),
        ("instructions", "topic", "A bot " + "x " * 60 + "law", False),
        ("instructions", "anaphora", "those old decrees and the decree", False),
        ("instructions", "anaphora", "those two old decree", True),
        ("instructions", "middle", "tell of thy law", True),
        ("instructions", "middle", "a law that binds thee", True),
        ("instructions", "middle", "a law for all men and not for thee", False),
        ("instructions", "middle", "what they told thee", True),
        ("instructions", "top", "Quoted, please", True),
        ("instructions", "top", "word   by\nword", True),
        ("instructions", "top", "swords by wordy", False),
        ("character", "topic", "A tale!", True),
        ("character", "middle", "he liveth without laws", True),
        ("character", "top", "speak to us as him", True),
        ("character", "top", "speak to us. As him", False),
    ],
)
def test_rungs_are_made_from_words(tmp_path: Path, ladder: str, rung: str, text: str, holds: bool) -> None:
    """Words stand alone, near each other and in one sentence; `~` is any ending, `...` a gap."""
    assert bool(getattr(getattr(one(tmp_path), ladder), rung).search(text)) is holds


def test_words_may_touch_where_a_language_has_no_spaces(tmp_path: Path) -> None:
    """Then a word counts inside a run of letters too."""
    assert one(tmp_path, more="spaced: false").instructions.topic.search("thebothaslaws")
    assert not one(tmp_path).instructions.topic.search("thebothaslaws")


def test_only_languages_that_are_spoken_are_asked() -> None:
    """A text that speaks of no model, rule or story reaches no rung in any language."""
    assert (
        SHIPPED.spoken(
            ["Good morning", "Guten Morgen", "\u0414\u043e\u0431\u0440\u043e\u0435 \u0443\u0442\u0440\u043e"]
        )
        == []
    )
    assert SHIPPED.spoken(["Which rules?"]) != SHIPPED.spoken(["Welche Regeln?"]) != []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("caf\u00e9 \u00c9t\u00e9", "cafe Ete"),
        ("\ud800x\u00e9", "?xe"),
        ("\u0439", "\u0438"),
        ("\uac01", "\uac01"),
    ],
)
def test_accents_are_taken_off(text: str, expected: str) -> None:
    """Letters stay what they are, whole syllables too; what can't be encoded becomes a question mark."""
    assert folded(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How can I open the lock?", {"open", "lock"}),
        ("Unlocking, unlocked", {"unlock"}),
        ("\u958b\u3051\u308b", {"\u958b\u3051", "\u3051\u308b"}),
        ("", set()),
    ],
)
def test_what_is_asked_for(text: str, expected: set[str]) -> None:
    """Words that fill and endings don't count; where words have no spaces, pairs of letters stand for them."""
    assert SHIPPED.asked_for(text) == expected


@pytest.mark.parametrize(
    "broken", ["model: [", "model: bot", WORDS + "colour: red", WORDS + "spaced: maybe", "- a list"]
)
def test_a_file_that_can_not_be_used_is_named(tmp_path: Path, broken: str) -> None:
    """Who adds a language learns which file is wrong."""
    (tmp_path / "new.yaml").write_text(broken, encoding="utf-8")
    with pytest.raises(RuleError, match=r"new\.yaml"):
        load_languages(tmp_path)


def test_the_version_names_the_words(tmp_path: Path) -> None:
    """It changes with any of them."""
    (tmp_path / "old.yaml").write_text(WORDS, encoding="utf-8")
    before = load_languages(tmp_path).version
    (tmp_path / "old.yaml").write_text(WORDS.replace("nay", "never"), encoding="utf-8")
    assert before != load_languages(tmp_path).version != SHIPPED.version
