"""
Reads the texts of `training/grammar/written`, each of which somebody wrote for itself.

    ### attack injection en
    the text, of one line or of several
    ### benign en
    ...

A line that begins with `### ` is the header of the text up to the next one: its side, the threat of an attack, its
language. A file is a topic, and what is left out of training as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from grammar.expand import Row

__all__ = ["read_written"]

_HEADER = re.compile(
    r"### (?:attack (injection|jailbreak|extraction|indirect_injection|exfiltration|tool_abuse)|benign) ([a-z]{2})"
)


def read_written(path: Path) -> Iterator[Row]:
    """
    Yield the texts of a file as rows of a family `written_<topic>`.

    Raises:
        ValueError: A header isn't one, or a text has none or is empty; says where.
    """
    header: re.Match[str] | None = None
    lines: list[str] = []
    numbered = [*enumerate(path.read_text(encoding="utf-8").split("\n"), 1)]
    for number, line in [*numbered, (len(numbered) + 1, None)]:
        if line is not None and not line.startswith("### "):
            lines.append(line)
            continue
        text = "\n".join(lines).strip()
        if bool(text) != (header is not None):
            raise ValueError(f"{path.name}, line {number}: a text without a header, or a header without a text")
        if header is not None:
            threat, lang = header.groups(default="")
            yield Row(text, bool(threat), threat, f"written_{path.stem}", lang, (0, len(text)))
        if line is not None:
            header, lines = _HEADER.fullmatch(line), []
            if header is None:
                raise ValueError(f"{path.name}, line {number}: not a header")
