"""What a user may set about the scanner, checked, and what it means for engines and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from sentinel.errors import ConfigError
from sentinel.model import Depth, ScanAction, ScanThreat
from sentinel.scanning.custom import CustomEngine, intent_patterns, user_patterns
from sentinel.scanning.engines import Engine
from sentinel.scanning.engines.classifier import Classifier
from sentinel.scanning.engines.domain import Domain
from sentinel.scanning.fuse import THRESHOLD, OnError, Terms
from sentinel.scanning.pipeline import Pipeline
from sentinel.scanning.second_look import checked_depth

__all__ = ["Changes", "Configuration", "added_engines", "ignored", "merged", "terms_of"]

_MODES = {"strict": 0.3, "lenient": 0.7}
"""The threshold for threats without one of their own."""
_DOMAINS = ("financial", "healthcare")
_PATTERN_ACTIONS = ("block", "flag", "log")


class Changes(TypedDict, total=False):
    """What `configure` takes; None puts a setting back to its default."""

    custom_patterns: Mapping[str, Iterable[str]] | None
    pattern_action: Literal["block", "flag", "log"] | None
    mode: Literal["strict", "lenient"] | None
    thresholds: Mapping[str, float] | None
    domain: Literal["financial", "healthcare"] | None
    blocked_intents: Iterable[str] | None
    required_confirmations: Iterable[str] | None
    pii_types: Iterable[str] | None
    hipaa_mode: bool | None
    phi_types: Iterable[str] | None
    pipeline: Pipeline | None
    depth: Depth | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings of a scanner, as `merged` makes them: checked and immutable."""

    custom_patterns: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """RE2 by category."""
    pattern_action: ScanAction = ScanAction.BLOCK
    """What a custom pattern that holds leads to."""
    mode: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """By threat, in [0, 1]; lower is more sensitive."""
    domain: str | None = None
    blocked_intents: tuple[str, ...] = ()
    required_confirmations: tuple[str, ...] = ()
    pii_types: tuple[str, ...] | None = None
    """The only kinds of personal data that count; None: all."""
    hipaa_mode: bool = False
    """Whether personal and health data in a prompt make it unsafe."""
    phi_types: tuple[str, ...] | None = None
    pipeline: Pipeline | None = None
    depth: Depth | None = None
    """None: the scanner's own."""


def merged(present: Configuration, changes: Mapping[str, Any]) -> Configuration:
    """
    Return the present configuration with changes.

    Args:
        present: Stays as it is.
        changes: By the names of `Changes`. Patterns merge by category and thresholds by threat; every other value
            takes the place of the present one. None is the default.

    Raises:
        ConfigError: A name or a value is none that exists; `where` is the key.
    """
    checked: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in _CHECKS:
            raise ConfigError(f"there is no such setting; there are {', '.join(_CHECKS)}", where=key)
        checked[key] = _DEFAULTS[key] if value is None else _CHECKS[key](key, value)
        if key in _MERGED and value is not None:
            checked[key] = MappingProxyType({**getattr(present, key), **checked[key]})
    return replace(present, **checked)


def terms_of(configuration: Configuration, on_error: OnError) -> Terms:
    """Return the terms on which findings are judged."""
    strict = configuration.mode == "strict" or configuration.hipaa_mode or "pii" in configuration.thresholds
    return Terms(
        threshold=_MODES.get(configuration.mode or "", THRESHOLD),
        thresholds={ScanThreat(threat): share for threat, share in configuration.thresholds.items()},
        pii_in_prompt="block" if strict else "flag",
        actions={"custom": configuration.pattern_action, "confirmation": ScanAction.FLAG},
        on_error=on_error,
    )


def added_engines(configuration: Configuration, present: Iterable[Engine]) -> list[Engine]:
    """
    Return the engines that a configuration adds to those present, or sets differently.

    Raises:
        ConfigError: A pattern can't be used; names the category and the index.
    """
    near = _noticed_from(configuration)
    engines: list[Engine] = [engine.heeding(near) for engine in present if near and isinstance(engine, Classifier)]
    if configuration.domain:
        engines.append(Domain([configuration.domain]))
    if configuration.custom_patterns:
        patterns = user_patterns(configuration.custom_patterns)
        engines.append(CustomEngine("custom", "Custom patterns", ("prompt", "response"), patterns))
    for engine, title, key, category, message in _INTENTS:
        if names := getattr(configuration, key):
            engines.append(CustomEngine(engine, title, ("prompt",), intent_patterns(key, names, category, message)))
    return engines


def _noticed_from(configuration: Configuration) -> Mapping[ScanThreat, float]:
    """Return for the model's threats the score that matters to something; nothing where that is the shipped one."""
    terms = terms_of(configuration, "flag")
    rules = configuration.pipeline.rules if configuration.pipeline else ()
    # A pipeline compares scores on the scale on which a threat's threshold is 0.5; 0 asks for no score at all.
    lowest = min([THRESHOLD, *(rule.threshold for rule in rules if rule.threshold)])
    scores = {
        threat: terms.thresholds.get(threat, terms.threshold) * lowest / THRESHOLD for threat in Classifier.threats
    }
    return scores if set(scores.values()) != {THRESHOLD} else {}


def ignored(configuration: Configuration, categories: Iterable[str]) -> frozenset[str]:
    """
    Return the categories of findings that don't count: the kinds of data that nobody asked about.

    Args:
        configuration: Its `pii_types` and `phi_types`.
        categories: All that there are.

    Raises:
        ConfigError: A kind of data is unknown.
    """
    return frozenset(
        category
        for key, prefix in (("pii_types", "pii_"), ("phi_types", "phi_"))
        for category in _not_asked_about(getattr(configuration, key), key, prefix, frozenset(categories))
    )


def _not_asked_about(
    kinds: tuple[str, ...] | None, key: str, prefix: str, categories: frozenset[str]
) -> frozenset[str]:
    known = {category for category in categories if category.startswith(prefix)}
    if kinds is None:
        return frozenset()
    wanted = set()
    for index, kind in enumerate(kinds):
        name = kind.lower().replace("-", "_").replace(" ", "_").removeprefix(prefix)
        category = prefix + _OTHER_NAMES.get(name, name)
        if category not in known:
            there = ", ".join(sorted(one.removeprefix(prefix) for one in known))
            raise ConfigError(f"there is no such kind; there are {there or 'none'}", where=f"{key}[{index}]")
        wanted.add(category)
    return frozenset(known - wanted)


_OTHER_NAMES = {
    "e_mail": "email",
    "email_address": "email",
    "telephone": "phone",
    "phone_number": "phone",
    "card": "credit_card",
    "card_number": "credit_card",
    "credit_card_number": "credit_card",
    "account_number": "iban",
    "bank_account": "iban",
    "bank_account_number": "iban",
    "social_security_number": "ssn",
    "medical_record_number": "mrn",
    "medical_record": "mrn",
}
"""Of kinds of data."""
_INTENTS = (
    ("intent", "Blocked intents", "blocked_intents", "blocked_intent", "Asks for something that is not allowed here."),
    (
        "confirmation",
        "Intents to be confirmed",
        "required_confirmations",
        "confirmation_required",
        "Asks for something that a person must confirm first.",
    ),
)


def _one_of(*choices: str) -> Callable[[str, Any], Any]:
    def check(key: str, value: Any) -> Any:
        if value not in choices:
            raise ConfigError(f"there are {', '.join(choices)}", where=key)
        return value

    return check


def _names(key: str, value: Any) -> tuple[str, ...]:
    names = None if isinstance(value, str | bytes) else _listed(value)
    if names is None or not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigError("it is a list of names", where=key)
    return names


def _listed(value: Any) -> tuple[Any, ...] | None:
    return tuple(value) if isinstance(value, Iterable) else None


def _patterns(key: str, value: Any) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(value, Mapping) or not all(isinstance(category, str) and category for category in value):
        raise ConfigError("it is a mapping from categories to lists of patterns", where=key)
    checked = {category: _names(f"{key}.{category}", patterns) for category, patterns in value.items()}
    user_patterns(checked)  # refuses what can't be compiled, now and not at the first scan
    return checked


def _thresholds(key: str, value: Any) -> Mapping[str, float]:
    if not isinstance(value, Mapping):
        raise ConfigError("it is a mapping from threats to numbers from 0 to 1", where=key)
    known = [str(threat) for threat in ScanThreat]
    for threat, share in value.items():
        if threat not in known:
            raise ConfigError(f"there is no such threat; there are {', '.join(known)}", where=f"{key}.{threat}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigError("a threshold is a number from 0 to 1", where=f"{key}.{threat}")
    return {str(threat): float(share) for threat, share in value.items()}


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError("it is True or False", where=key)
    return value


def _pipeline(key: str, value: Any) -> Pipeline:
    if not isinstance(value, Pipeline):
        raise ConfigError("it is a Pipeline", where=key)
    return value


def _pattern_action(key: str, value: Any) -> ScanAction:
    return ScanAction(_one_of(*_PATTERN_ACTIONS)(key, value))


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "custom_patterns": _patterns,
    "pattern_action": _pattern_action,
    "mode": _one_of(*_MODES),
    "thresholds": _thresholds,
    "domain": _one_of(*_DOMAINS),
    "blocked_intents": _names,
    "required_confirmations": _names,
    "pii_types": _names,
    "hipaa_mode": _flag,
    "phi_types": _names,
    "pipeline": _pipeline,
    "depth": lambda _, value: checked_depth(value),
}
_MERGED = ("custom_patterns", "thresholds")
_DEFAULTS = {one.name: getattr(Configuration(), one.name) for one in fields(Configuration)}
