"""Where rules lie: files and folders -> documents, and whether they are still what they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sentinel.detection import RuleSet, parse_rules, shipped_rules
from sentinel.errors import ConfigError

__all__ = ["SHIPPED", "Fingerprint", "RuleFiles", "fingerprint", "read_documents", "read_files", "read_rules"]

SHIPPED = "default"
"""Names the rules that come with Sentinel."""

Fingerprint = frozenset[tuple[str, int, int, int]]
"""Path, inode, size and time of change (ns) of each file; a file replaced by one as old and as long differs too."""


class RuleFiles(NamedTuple):
    """What files held, and the state that they were in before they were read."""

    state: Fingerprint
    rules: RuleSet


def read_files(places: Iterable[str]) -> RuleFiles:
    """Return the rules of the named files and folders, as `read_rules` does, with the state of the files."""
    named = tuple(places)
    return RuleFiles(fingerprint(named), read_rules(named))


def read_rules(places: Iterable[str]) -> RuleSet:
    """
    Return the rules of the named files and folders; `default` stands for the shipped ones.

    Raises:
        ConfigError: A place can't be read. A broken rule does not raise: it is in `refused`, with file and line.
    """
    return parse_rules(document for place in places for document in read_documents(place))


def read_documents(place: str) -> list[tuple[str, str]]:
    """
    Return the name and text of each rule file there, by name.

    Raises:
        ConfigError: There is none, or one can't be read as a text.
    """
    if place == SHIPPED:
        return shipped_rules()
    paths = list(_paths(place))
    if not paths:
        raise ConfigError("no rule files (*.yml) there; name a folder with Sigma rules, or `default`", where=place)
    return [(str(path), _read(path)) for path in paths]


def fingerprint(places: Iterable[str]) -> Fingerprint:
    """Return what tells one state of these files from another; a file that can't be looked at is left out."""
    found = set()
    for path in (path for place in places if place != SHIPPED for path in _paths(place)):
        try:
            status = path.stat()
        except OSError:  # gone since it was listed
            continue
        found.add((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return frozenset(found)


def _paths(place: str) -> Iterator[Path]:
    path = Path(place)
    return iter([path] if path.is_file() else sorted(path.rglob("*.y*ml")))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError("can't be read as a text", where=str(path)) from err
