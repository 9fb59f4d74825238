"""YAML with lines."""

from __future__ import annotations

import pytest

from sentinel.detection.sigma.document import LocatedError, Map, documents


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-0.5", -0.5),
        ("no", "no"),
        ("on", "on"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("'12'", "12"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_values_are_what_they_look_like(written: str, meant: object) -> None:
    """Only the core types of YAML 1.2 are read; everything else is the text that stands there."""
    assert [{"value": meant}] == list(documents(f"value: {written}"))


def test_every_key_knows_its_line() -> None:
    """Lines count from 1 in the file, over document markers and comments."""
    first, second = documents("# a comment\na: 1\nb:\n  c: 2\n---\n\nd: 3\n")
    assert isinstance(first, Map)
    assert isinstance(second, Map)
    assert (first.lines, first["b"].lines, second.lines) == ({"a": 2, "b": 3}, {"c": 4}, {"d": 7})
    assert (first.error("b", "wrong").line, first.error("absent", "wrong").line) == (3, 2)


def test_a_broken_document_leaves_its_neighbours_alone() -> None:
    """The documents before and after a syntax error are read."""
    before, broken, after = documents("a: 1\n---\nb: 2\nc: [\n---\nd: 4\n")
    assert (before, after) == ({"a": 1}, {"d": 4})
    assert isinstance(broken, LocatedError)
    assert broken.line == 5


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: 2\na: 3", 3, "'a' stands here twice"),
        ("x: &m {a: 1}\ny:\n  <<: *m", 3, "merge keys"),
        ("? [a, b]\n: 1", 1, "a key must be text"),
        ("- a", 1, "a mapping"),
        ("---\n---\njust text", 2, "a mapping"),
        ("a: !!python/object:os.system x", 1, "not YAML"),
        ("a: !!binary aGk=", 1, "not YAML"),
        ("&a [*a]", 1, "a mapping"),
        ("a: &a {b: *a}", 1, "not YAML"),
        ("a: b\n\0: c", 1, "not YAML"),
        ("a: " + "[" * 5000 + "]" * 5000, 1, "not YAML"),
        ("a: " + "9" * 5000, 1, "not YAML"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, line: int, reason: str) -> None:
    """No text makes the reader raise; it gives the line and the reason."""
    (error,) = documents(text)
    assert isinstance(error, LocatedError)
    assert (error.line, reason in error.reason) == (line, True), error.reason


def test_empty_documents_are_skipped() -> None:
    """A marker at the top or the end makes no document."""
    assert list(documents("---\n# nothing\n---\na: 1\n---\n")) == [{"a": 1}]
