"""The reference of Sigma says what the code does."""

from __future__ import annotations

import runpy
from pathlib import Path

from sentinel.detection.sigma import values

CONFORMANCE = runpy.run_path(str(Path(__file__).parents[3] / "docs" / "reference" / "conformance.py"))


def test_the_page_has_the_table_that_the_cases_make() -> None:
    """Every case is answered as printed, and the page is not older than the cases."""
    text = CONFORMANCE["PAGE"].read_text()
    assert text == CONFORMANCE["rendered"](text), "run `python docs/reference/conformance.py`"


def test_every_modifier_has_a_case() -> None:
    """A modifier that the page does not show is one that nobody can rely on."""
    shown = {modifier for key, *_ in CONFORMANCE["CASES"] for modifier in key.split("|")[1:]}
    known = values._OPERATORS | values._RE_FLAGS | values._COMBINING | values._TIMES.keys() | values._TRANSFORMS.keys()
    assert known <= shown
