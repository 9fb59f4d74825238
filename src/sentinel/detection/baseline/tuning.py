"""How sensitive each metric is: defaults, and what people have set in a YAML file or over the API."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from sentinel.detection.baseline.metrics import METRICS
from sentinel.errors import ConfigError
from sentinel.model import Severity

__all__ = ["Limits", "Tuning", "parse_tuning", "with_changes"]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From which scores on a metric's anomalies are reported, and how severe they are called. Scores lie in [0, 1]."""

    enabled: bool = True
    report: float = 0.7
    """Reported, as low; a day in 120 of one person reaches it by chance."""
    medium: float = 0.8
    """A day in six hundred."""
    high: float = 0.95
    """A day in 160,000."""

    def severity(self, score: float) -> Severity:
        """Return how severe an anomaly with this score is called."""
        return Severity.HIGH if score >= self.high else Severity.MEDIUM if score >= self.medium else Severity.LOW


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Limits by metric; those that are not named have the defaults."""

    default: Limits = Limits()
    metrics: dict[str, Limits] = {}

    def of(self, metric: str) -> Limits:
        """Return the limits of a metric."""
        return self.metrics.get(metric, self.default)


_NUMBERS = ("report", "medium", "high")


def parse_tuning(text: str, place: str) -> Tuning:
    """
    Return what a YAML file says: `default` and `metrics`, each with `enabled`, `report`, `medium`, `high`.

    Args:
        text: The file.
        place: Its name, for errors.

    Raises:
        ConfigError: With file, line and the word that is wrong.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError("is not valid YAML", where=f"{place}{line}") from err
    if root is None:
        return Tuning()
    fields = _mapping(root, place, {"default", "metrics"})
    default = _limits(fields["default"], place, Limits()) if "default" in fields else Limits()
    metrics = {}
    if "metrics" in fields:
        for name, node in _mapping(fields["metrics"], place, set(METRICS)).items():
            metrics[name] = _limits(node, place, default)
    return Tuning(default=default, metrics=metrics)


def _mapping(node: yaml.Node, place: str, known: set[str]) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise _error(node, place, "expected names with values")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = str(key.value)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
            raise _error(key, place, f"unknown name {name!r}{hint}")
        if name in found:
            raise _error(key, place, f"{name!r} stands there twice")
        found[name] = value
    return found


def _limits(node: yaml.Node, place: str, default: Limits) -> Limits:
    fields = _mapping(node, place, {"enabled", *_NUMBERS})
    values: dict[str, Any] = {}
    for name, value in fields.items():
        given = yaml.SafeLoader("").construct_object(value)
        if name == "enabled":
            if not isinstance(given, bool):
                raise _error(value, place, "`enabled` is true or false")
        elif isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
            raise _error(value, place, f"`{name}` is a score from 0 to 1")
        values[name] = given
    return msgspec.structs.replace(default, **values)


def _error(node: yaml.Node, place: str, reason: str) -> ConfigError:
    return ConfigError(reason, where=f"{place}:{node.start_mark.line + 1}")


def with_changes(tuning: Tuning, changes: Mapping[str, Limits]) -> Tuning:
    """Return the tuning with what people have set over the API on top."""
    return msgspec.structs.replace(tuning, metrics=tuning.metrics | dict(changes))
