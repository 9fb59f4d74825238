"""
The plan of who is told about an incident, and when: levels, each with its channels.

The file is YAML. A channel is `console`, or the name of a file that holds a URL, since the URL holds secrets: one that
apprise takes, or `webhook:https://...` for a plain POST:

    levels:
      - name: security team
        after: 0m
        channels: [console, file:/etc/sentinel/chat.url]
      - name: management
        after: 15m
        channels: [file:/etc/sentinel/mail.url]
    backup: console
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import yaml

from sentinel.errors import ConfigError
from sentinel.notify.channels import AppriseChannel, Channel, ConsoleChannel, WebhookChannel

__all__ = ["Level", "Plan", "default_plan", "parse_plan"]

_MOST_LEVELS = 3
_AFTER = re.compile(r"(\d{1,4})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_FILE = "file:"
_WEBHOOK = "webhook:"


class Level(msgspec.Struct, frozen=True):
    """Some people, told when an incident has not been acknowledged for a time."""

    name: str
    after_seconds: int
    channels: tuple[Channel, ...]


class Plan(msgspec.Struct, frozen=True):
    """Levels in order of time, and what takes a message that no channel of a level took."""

    levels: tuple[Level, ...]
    backup: Channel

    def due(self, waited_seconds: float) -> int:
        """Return how many levels are to have been told after so long."""
        return sum(level.after_seconds <= waited_seconds for level in self.levels)


def default_plan() -> Plan:
    """Return the plan without a file: all three levels write to standard error, as nothing else is known."""
    console = ConsoleChannel()
    names = (("security team", 0), ("management", 15 * 60), ("executives", 60 * 60))
    return Plan(tuple(Level(name, after, (console,)) for name, after in names), console)


def parse_plan(text: str, where: str) -> Plan:
    """
    Return the plan that YAML text states; `where` is the file's name for messages.

    Raises:
        ConfigError: It is not YAML or makes no sense, or a channel's file can't be used; says which part.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        raise ConfigError("this is not YAML", where=f"{where}:{mark.line + 1 if mark else 1}") from None
    top = _mapping(found, {"levels"}, {"backup"}, where, "the plan")
    levels = top["levels"]
    if not isinstance(levels, list) or not 0 < len(levels) <= _MOST_LEVELS:
        raise ConfigError(f"levels: a list of one to {_MOST_LEVELS}", where=where)
    parsed = tuple(_level(item, where, f"level {number}") for number, item in enumerate(levels, 1))
    if any(one.after_seconds >= two.after_seconds for one, two in pairwise(parsed)):
        raise ConfigError("levels: each comes later than the one before", where=where)
    return Plan(parsed, _channel(top.get("backup", "console"), where, "backup"))


def _level(found: Any, where: str, part: str) -> Level:
    fields = _mapping(found, {"name", "after", "channels"}, set(), where, part)
    after = _AFTER.fullmatch(str(fields["after"]))
    if after is None:
        raise ConfigError(f"{part}: after is a number and a unit: 0m, 30s, 1h", where=where)
    channels = fields["channels"]
    if not isinstance(channels, list) or not channels:
        raise ConfigError(f"{part}: channels is a list with at least one", where=where)
    made = tuple(_channel(channel, where, part) for channel in channels)
    return Level(str(fields["name"]), int(after[1]) * _SECONDS[after[2]], made)


def _channel(found: Any, where: str, part: str) -> Channel:
    if found == "console":
        return ConsoleChannel()
    if not isinstance(found, str) or not found.startswith(_FILE):
        raise ConfigError(f"{part}: a channel is console, or {_FILE} and the path of a file with its URL", where=where)
    path = Path(found.removeprefix(_FILE))
    try:
        url = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError("can't be read as a text", where=str(path)) from None
    return WebhookChannel(url.removeprefix(_WEBHOOK)) if url.startswith(_WEBHOOK) else AppriseChannel(url)


def _mapping(found: Any, required: set[str], optional: set[str], where: str, part: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise ConfigError(f"{part}: keys and values belong here: {', '.join(sorted(required))}", where=where)
    missing, unknown = required - found.keys(), found.keys() - required - optional
    if missing or unknown:
        said = [f"missing: {', '.join(sorted(missing))}"] if missing else []
        said += [f"unknown: {', '.join(sorted(map(str, unknown)))}"] if unknown else []
        raise ConfigError(f"{part}: {'; '.join(said)}", where=where)
    return found
