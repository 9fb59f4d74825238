"""Views know where their characters came from."""

from __future__ import annotations

import pytest

from sentinel.scanning.view import View, edited, excerpted, mirrored, original, translated

TEXT = "abc%20def"


def place(view: View, part: str) -> tuple[int, int]:
    start = view.text.index(part)
    return view.span(start, start + len(part))


def test_the_original_stands_where_it_stands() -> None:
    """The root view maps a place to itself."""
    assert original("hello").span(1, 3) == (1, 3)


@pytest.mark.parametrize(
    ("part", "expected"),
    [("abc", (0, 3)), (" ", (3, 6)), ("def", (6, 9)), ("c d", (2, 7)), ("abc def", (0, 9)), ("ef", (7, 9))],
)
def test_an_edit_maps_to_what_it_replaced(part: str, expected: tuple[int, int]) -> None:
    """Copied characters map one by one, and a replacement maps to all that it stands for."""
    assert place(edited("percent", original(TEXT), lambda: [(3, 6, " ")]), part) == expected


def test_what_was_removed_lies_inside_the_span() -> None:
    """A word that was split by invisible characters is found as a whole, with them."""
    view = edited("normalised", original("a\u200bb\u200bc!"), lambda: [(1, 2, ""), (3, 4, "")])
    assert view.text == "abc!"
    assert place(view, "abc") == (0, 5)
    assert place(view, "!") == (5, 6)


def test_a_text_that_is_all_edits_has_no_copied_runs() -> None:
    """An edit at the very start and one at the very end leave nothing odd behind."""
    view = edited("x", original("12"), lambda: [(0, 1, "one"), (1, 2, "two")])
    assert (view.text, place(view, "one"), place(view, "two")) == ("onetwo", (0, 1), (1, 2))


def test_a_mirrored_text_maps_backwards() -> None:
    """A word read from the end stands at its mirror place."""
    view = mirrored("reversed", original("olleh you"))
    assert view.text == "uoy hello"
    assert place(view, "hello") == (0, 5)
    assert place(view, "u") == (8, 9)


def test_excerpts_leave_out_what_lies_between() -> None:
    """Only the excerpts can be read, apart from each other, each at its place."""
    view = excerpted("base64", original("xx41yy42zz"), [(2, 4, "Hello"), (6, 8, "World")])
    assert view.text.split() == ["Hello", "World"]
    assert place(view, "ell") == (2, 4)
    assert place(view, "World") == (6, 8)
    assert excerpted("base64", original("abc"), []).text == ""


def test_views_of_views_map_to_the_original() -> None:
    """A place goes down through every reading, and the name tells the way."""
    inner = edited("percent", original("%41bcd"), lambda: [(0, 3, "A")])
    view = mirrored("reversed", translated("rot13", inner, "Nopq"))
    assert (view.text, view.name, view.depth) == ("qpoN", "percent/rot13/reversed", 3)
    assert place(view, "N") == (0, 3)
    assert place(view, "qp") == (4, 6)


def test_of_a_long_text_only_the_surroundings_of_edits_are_read_again() -> None:
    """Each edit stands between what stood around it, at its place; the rest is judged in the parent."""
    far = "x" * 20_000
    source = original(f"{far} one%20two {far} three%20four")
    places = [(at, at + 3, " ") for at in (20_004, 40_017)]
    view = edited("percent", source, lambda: places)
    assert len(view.text) < 3000
    assert place(view, "one two") == (20_001, 20_010)
    assert place(view, "three four") == (40_012, 40_024)
    assert "\n" in view.text
    assert edited("percent", source, list).text == ""


def test_a_view_without_end_says_that_it_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the text reads as it came, its places are right, and the view isn't complete."""
    monkeypatch.setattr("sentinel.scanning.view._MOST_EDITS", 2)
    source = original("1 2 3 4")
    edits = [(at, at + 1, "one") for at in (0, 2, 4)]
    cut, whole = edited("x", source, lambda: edits), edited("x", source, lambda: edits[:2])
    assert (cut.text, cut.is_complete, place(cut, "3")) == ("one one 3 4", False, (4, 5))
    assert whole.is_complete
