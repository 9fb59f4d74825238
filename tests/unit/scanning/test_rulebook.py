"""Rules are data; a broken one is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinel.errors import RuleError
from sentinel.scanning import rulebook
from sentinel.scanning.rulebook import MOST_HITS, RuleBook, load_rules
from sentinel.scanning.view import original

RULE = """\
words: {pet: cat|dog}
rules:
  - id: demo.pet
    pattern: 'my {pet}\\b'
    message: Speaks of a pet.
    threat: custom
    category: pets
    severity: low
    weight: 0.4
    tags: []
    flags: [this is my cat]
"""


def book(folder: Path, text: str, name: str = "demo.yaml") -> RuleBook:
    (folder / name).write_text(text, encoding="utf-8")
    return load_rules(folder)


def test_a_rule_says_where_it_holds(tmp_path: Path) -> None:
    """Word lists and spaces are expanded, case doesn't count, and the engine is the file's name."""
    rules = book(tmp_path, RULE)
    [first, second] = rules.hits(original("my  \n> DOG and **my** cat, my catalogue"))
    assert (first.text, first.span) == ("my  \n> DOG", (0, 10))
    assert second.text == "my** cat"
    finding = first.finding("response")
    assert (finding.engine, finding.rule_id, finding.category) == ("demo", "demo.pet", "pets")
    assert (finding.confidence, finding.source, finding.view) == (0.4, "response", "original")


DENIED = RULE.replace("rules:\n", "denied: '(?:^|[.] )(?:never|not) '\nrules:\n")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("my cat", [(0, 6)]),
        ("Never my cat", []),
        ("Oh. not my cat, my dog", [(16, 22)]),
        ("If never my cat", [(9, 15)]),
        ("Never, my cat", [(7, 13)]),
        ("Öl. Never my cat", []),
        ("Never my cat. " * 2000 + "My cat", [(28_000, 28_006)]),
    ],
)
def test_what_is_denied_does_not_hold(tmp_path: Path, text: str, places: list[tuple[int, int]]) -> None:
    """After words that turn it into its contrary a hit is none, however many of those come before a real one."""
    assert [hit.span for hit in book(tmp_path, DENIED).hits(original(text))] == places


def test_places_are_bounded(tmp_path: Path) -> None:
    """A text that repeats one thing a hundred thousand times costs no more than one that does so a thousand times."""
    assert len(list(book(tmp_path, RULE).hits(original("my cat " * 100_000)))) == MOST_HITS


@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        (r"my {pet}\b", "my (cat", "demo.yaml:3", "does not compile"),
        (r"my {pet}\b", "(?=cat)", "demo.yaml:3", "does not compile"),
        (r"my {pet}\b", "(cat)?", "demo.yaml:3", "matches the empty text"),
        (r"my {pet}\b", r"your {pet}\b", "demo.yaml:3", "does not hold in its first"),
        ("{pet}", "{pets}", "demo.yaml:3", "no word list is called 'pets'"),
        ("weight: 0.4", "weight: 1.4", "demo.yaml:3", "weight"),
        ("severity: low", "severity: dire", "demo.yaml:3", "severity"),
        ("threat: custom", "threat: cats", "demo.yaml:3", "threat"),
        ("    tags: []\n", "", "demo.yaml:3", "tags"),
        ("tags: []", "tags: []\n    colour: red", "demo.yaml:3", "colour"),
        ("flags: [this is my cat]", "flags: []", "demo.yaml:3", "flags"),
        ("weight: 0.4", "weight: [0.4", "demo.yaml:1", "not valid YAML"),
        ("rules:", "rulez:", "demo.yaml", "rulez"),
        ("rules:\n", "denied: '(not'\nrules:\n", "demo.yaml:4", "`denied:` does not compile"),
    ],
)
def test_a_broken_rule_is_refused_with_its_place(tmp_path: Path, old: str, new: str, place: str, reason: str) -> None:
    """Whoever wrote the rule learns the file, the line and what is wrong."""
    assert old in RULE
    with pytest.raises(RuleError, match=reason) as caught:
        book(tmp_path, RULE.replace(old, new))
    assert caught.value.where is not None
    assert caught.value.where.startswith(place)


def test_rules_that_find_no_room_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An automaton without memory for its pattern would find nothing in any text and say nothing of it."""
    book(tmp_path, RULE)
    monkeypatch.setattr(rulebook, "_MEMORY_BYTES", 2**10)
    with pytest.raises(RuleError, match=r"demo\.yaml:3: demo\.pet: the pattern does not compile: .*too large"):
        load_rules(tmp_path)


def test_an_id_is_unique_over_all_files(tmp_path: Path) -> None:
    """Two rules of one name would hide each other in results."""
    book(tmp_path, RULE, "a.yaml")
    with pytest.raises(RuleError, match=r"b\.yaml:3: demo\.pet: the id is taken at a\.yaml:3"):
        book(tmp_path, RULE, "b.yaml")


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [("cat|dog", "cat|cow", False), ("0.4", "0.5", False), ("Speaks of", "Mentions", True), ("this is", "it is", True)],
)
def test_the_version_tells_rules_apart_that_judge_differently(tmp_path: Path, old: str, new: str, same: bool) -> None:
    """Pattern and weight count; wording and examples don't."""
    assert (book(tmp_path, RULE).version == book(tmp_path, RULE.replace(old, new)).version) is same


def test_the_shipped_rules_can_be_used() -> None:
    """They are loaded without being compiled, for a quick start: here is where that is made good."""
    load_rules().check()


def test_long_texts_are_judged_as_short_ones_are() -> None:
    """They are examined with other Sets of the same rules: each rule's example is found far into a long text too."""
    rules = load_rules()
    for rule in rules.rules[::7]:
        example = rule.flags[0]
        short = {hit.rule.id for hit in rules.hits(original(f". {example} ."))}
        long = {hit.rule.id for hit in rules.hits(original(f"{'. ' * 10_000}{example} ."))}
        assert long == short, rule.id
