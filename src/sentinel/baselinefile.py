"""The limits of baselines: a YAML file that people write, and on top of it what was set over the API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sentinel.detection.baseline import Tuning, parse_tuning
from sentinel.detection.baseline.tuning import Limits, with_changes
from sentinel.errors import ConfigError

__all__ = ["read_changes", "read_tuning", "write_changes"]

_Changes = dict[str, Limits]


def read_tuning(path: Path | None, changes: Path) -> Tuning:
    """
    Return the limits in force.

    Args:
        path: The YAML file; None for the defaults.
        changes: What was set over the API; need not be there.

    Raises:
        ConfigError: Names file, line and the word that is wrong.
    """
    tuning = Tuning()
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigError("can't be read as a text", where=str(path)) from err
        tuning = parse_tuning(text, str(path))
    return with_changes(tuning, read_changes(changes))


def read_changes(path: Path) -> _Changes:
    """Return by metric the limits that were set over the API; `ConfigError` when the file holds something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Changes)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as err:
        raise ConfigError("can't be read as limits by metric", where=str(path)) from err


def write_changes(path: Path, changes: Mapping[str, Limits]) -> None:
    """Replace what was set over the API, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(msgspec.json.encode(dict(sorted(changes.items()))))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
