"""Where rules lie: files and folders -> documents, and whether they are still what they were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from sentinel.detection import RuleSet, parse_rules, shipped_rules
from sentinel.errors import ConfigError

__all__ = [
    "SHIPPED",
    "Fingerprint",
    "RuleFiles",
    "fingerprint",
    "read_documents",
    "read_files",
    "read_rules",
    "read_thresholds",
    "write_thresholds",
]

SHIPPED = "default"
"""Names the rules that come with Sentinel."""

Fingerprint = frozenset[tuple[str, int, int, int]]
"""Path, inode, size and time of change (ns) of each file; a file replaced by one as old and as long differs too."""


class RuleFiles(NamedTuple):
    """What files held, and the state that they were in before they were read."""

    state: Fingerprint
    rules: RuleSet


def read_files(places: Iterable[str], thresholds: Path) -> RuleFiles:
    """Return the rules of the named files and folders, as `read_rules` does, with the state of the files."""
    named = tuple(places)
    return RuleFiles(fingerprint([*named, str(thresholds)]), read_rules(named, thresholds))


def read_rules(places: Iterable[str], thresholds: Path | None = None) -> RuleSet:
    """
    Return the rules of the named files and folders; `default` stands for the shipped ones.

    Args:
        places: Files and folders.
        thresholds: A file of thresholds that people have set, which need not be there.

    Raises:
        ConfigError: A place can't be read. A broken rule does not raise: it is in `refused`, with file and line.
    """
    adjusted = {} if thresholds is None else read_thresholds(thresholds)
    return parse_rules((document for place in places for document in read_documents(place)), adjusted)


def read_thresholds(path: Path) -> dict[str, float]:
    """Return by rule the thresholds that people have set; `ConfigError` when the file holds something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int | float])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as err:
        raise ConfigError("can't be read as numbers by rule", where=str(path)) from err


def write_thresholds(path: Path, thresholds: Mapping[str, float]) -> None:
    """Replace the file of thresholds, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(msgspec.json.encode(dict(sorted(thresholds.items()))))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


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
