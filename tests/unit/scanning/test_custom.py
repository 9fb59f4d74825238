"""A user's patterns hold in every reading of a text, once in each place."""

from __future__ import annotations

from sentinel.model import ScanThreat
from sentinel.scanning.custom import CustomEngine, intent_patterns, user_patterns
from sentinel.scanning.rulebook import RuleBook
from sentinel.scanning.text import Text, read

NO_RULES = RuleBook([])


def text(words: str) -> Text:
    return read("prompt", words, NO_RULES)


def engine(**by_category: list[str]) -> CustomEngine:
    return CustomEngine("custom", "Custom patterns", ("prompt",), user_patterns(by_category))


def test_a_place_is_reported_once_with_what_it_is_called() -> None:
    """Also when the same place reads the same in several views."""
    words = "see ph%6fenix and phoenix"
    findings = list(engine(names=["nobody", "phoenix"]).examine(text(words)))
    assert [words[slice(*finding.span)] for finding in findings] == ["phoenix", "ph%6fenix"]
    assert {(finding.category, finding.rule_id, finding.engine, finding.threat) for finding in findings} == {
        ("names", "custom.names.1", "custom", ScanThreat.CUSTOM)
    }
    assert [finding.view for finding in findings] == ["original", "percent"]


def test_case_counts_only_where_the_pattern_says_so() -> None:
    """As in the shipped rules."""
    assert len(list(engine(a=["phoenix"]).examine(text("PHOENIX")))) == 1
    assert list(engine(a=["(?-i)phoenix"]).examine(text("PHOENIX"))) == []


def test_the_answer_stays_small_for_any_text() -> None:
    """A pattern that holds everywhere says so a hundred times in each reading, not a million times."""
    assert len(list(engine(a=["a"]).examine(text("a" * 5000)))) <= 200


def test_findings_say_nothing_of_the_pattern_or_the_text() -> None:
    """A pattern may be as secret as what it finds."""
    [finding] = engine(names=["phoenix"]).examine(text("phoenix"))
    assert "phoenix" not in repr(finding)


def test_the_words_of_an_intent_are_plain_words() -> None:
    """What means something in a regular expression means itself in a name."""
    [pattern] = intent_patterns("blocked_intents", ["naïve transfer"], "blocked_intent", "Not allowed.")
    assert pattern.rule_id == "blocked_intent.naïve transfer"
    assert pattern.compiled.search("a transfer that is naïve")
