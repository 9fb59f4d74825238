"""Where the escalation plan lies: a file that is read when the service starts."""

from __future__ import annotations

from pathlib import Path

from sentinel.errors import ConfigError
from sentinel.notify import Plan, default_plan, parse_plan

__all__ = ["read_plan"]


def read_plan(path: Path | None) -> Plan:
    """Return the plan in a file, or the shipped one; `ConfigError` names the file, and what is wrong in it."""
    if path is None:
        return default_plan()
    try:
        return parse_plan(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError("can't be read as a text", where=str(path)) from err
