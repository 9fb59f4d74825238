"""The texts in files: one file, or every text file of a folder, within bounds and with nothing left out in silence."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from sentinel.errors import ConfigError

__all__ = ["MOST_FILES", "Row", "Skipped", "labelled_files", "read_rows", "read_text", "text_files"]

MOST_FILES = 10_000
_MOST_BYTES = 2 * 2**20
"""What a scan takes."""
_PEEK = 8192


class Skipped(NamedTuple):
    """A file that was not judged, and why."""

    path: Path
    reason: str


class Row(msgspec.Struct):
    """A labelled text, as data sets have them."""

    text: str
    label: str = "benign"
    lang: str = ""


def text_files(folder: Path) -> list[Path]:
    """
    Return the files below a folder, sorted; those whose name or folder begins with a dot are left out, links too.

    Raises:
        ConfigError: There are more than 10,000.
    """
    found = list(islice(_files(folder), MOST_FILES + 1))
    if len(found) > MOST_FILES:
        raise ConfigError(f"holds more than {MOST_FILES:,} files; name folders within it", where=str(folder))
    return sorted(found)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(place, name) for name in names if not name.startswith("."))
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


def read_text(path: Path) -> str | Skipped:
    """Return a file's text, or why it has none that can be judged."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as err:
        return Skipped(path, f"can't be read: {err.strerror}")
    if b"\0" in content[:_PEEK]:
        return Skipped(path, "not text")
    if len(content) > _MOST_BYTES:
        return Skipped(path, f"longer than {_MOST_BYTES} bytes")
    return content.decode("utf-8", "replace")


def labelled_files(folder: Path) -> list[Path]:
    """
    Return the JSONL files below a folder, packed ones too, sorted.

    Raises:
        ConfigError: There is none.
    """
    found = sorted([*folder.rglob("*.jsonl"), *folder.rglob("*.jsonl.gz")])
    if not found:
        raise ConfigError("holds no *.jsonl or *.jsonl.gz file", where=str(folder))
    return found


def read_rows(path: Path) -> Iterator[Row]:
    """
    Yield the rows of a file: JSON objects with `text` and perhaps `label` and `lang`, or plain lines of text.

    What the first line looks like decides for the file.

    Raises:
        ConfigError: The file can't be read, or a line of JSON is not such an object; names the line.
    """
    try:
        with _opened(path) as lines:
            as_json: bool | None = None
            for number, raw in enumerate(lines, 1):
                line = raw.strip()
                if not line:
                    continue
                as_json = line[:1] == b"{" if as_json is None else as_json
                yield _row(line, f"{path}:{number}") if as_json else Row(line.decode("utf-8", "replace"))
    except (OSError, EOFError) as err:
        raise ConfigError(f"can't be read: {getattr(err, 'strerror', None) or 'cut off'}", where=str(path)) from err


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value] # reads bytes


def _row(line: bytes, where: str) -> Row:
    try:
        return msgspec.convert(_decoded(line), Row)
    except (ValueError, RecursionError):
        # The decoder's message could quote the text.
        raise ConfigError("expected a JSON object with `text`, and perhaps `label` and `lang`", where=where) from None


def _decoded(line: bytes) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    label = row.get("label", "benign")
    return {**row, "label": _LABELS.get(label, label) if isinstance(label, int | str) else label}


# Data sets that know only two labels write numbers.
_LABELS: dict[Any, str] = {0: "benign", 1: "attack", "0": "benign", "1": "attack", "safe": "benign"}
