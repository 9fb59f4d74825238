"""The pages about the library say what the library does."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import sentinel
from sentinel.model import Finding, ScanResult, ScanThreat
from sentinel.scanning.configure import Changes
from sentinel.scanning.scanner import Scanner

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference" / "library.md"
PAGES = [REFERENCE, DOCS / "how-to" / "configure-the-scanner.md", DOCS / "how-to" / "look-twice.md"]
_PRINTS = re.compile(r"^```python\n(.*?)^```$\s+^```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_print_what_stands_below_them(page: Path) -> None:
    """Somebody who runs them one after the other sees the same."""
    examples = _PRINTS.findall(page.read_text())
    code = "".join(f"{example}\nprint('@@')\n" for example, _ in examples)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("@@\n")[:-1] == [expected for _, expected in examples]


def test_everything_public_is_in_the_reference() -> None:
    """Each name, setting, field and threat can be looked up."""
    text = REFERENCE.read_text()
    elsewhere = {"OutsideError", "RejectedEvent"}  # of the service
    names = {
        *sentinel.__all__,
        *Changes.__annotations__,
        *ScanResult.__struct_fields__,
        *Finding.__struct_fields__,
        *ScanThreat,
        *(field.name for field in fields(Scanner) if field.init),
    }
    assert {name for name in names - elsewhere if not re.search(rf"\b{name}\b", text)} == set()
