"""
Sigma documents -> rules. A rule that is not understood exactly is refused with its file and line; the others load.

Two passes: detections first, then the correlations that refer to them by `id` or `name`, in whichever file they stand.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import msgspec

from sentinel.detection.rule import Base, Examples, LogSource, Refusal, Rule, RuleSet
from sentinel.detection.sigma.condition import detection_predicate
from sentinel.detection.sigma.document import LocatedError, Map, documents
from sentinel.detection.sigma.fields import getter
from sentinel.model import EventType, Micros, Severity, ThreatType

__all__ = ["parse_rules", "shipped_rules"]

_SECOND: Micros = 1_000_000
_UNITS = {"s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND, "d": 86_400 * _SECOND, "w": 604_800 * _SECOND}
_TIMESPAN = re.compile(r"([1-9][0-9]{0,8})([smhdw])")
_PLAIN_SUPPRESS: Micros = 3600 * _SECOND
_PLAIN_SUBJECTS = ("user_id", "ip_address", "session_id", "service_name")
_CONFIDENCE = 0.9
_LEVELS = {"informational": Severity.LOW} | {level.value: level for level in Severity if level is not Severity.INFO}

# Said for people, and without a part in what the rule does.
_PROSE = {
    "title",
    "description",
    "tags",
    "status",
    "references",
    "author",
    "date",
    "modified",
    "falsepositives",
    "license",
}
_PROSE |= {"related", "fields", "scope", "taxonomy"}
_KNOWN = _PROSE | {"id", "name", "level", "logsource", "detection", "correlation", "sentinel"}
_SENTINEL = {"threat_type", "confidence", "suppress", "subject", "examples"}
_CORRELATION = {"type", "rules", "group-by", "timespan", "condition", "generate"}
_LATER_TYPES = {
    "value_count",
    "value_sum",
    "value_avg",
    "value_percentile",
    "value_median",
    "temporal",
    "temporal_ordered",
}


class _Document(msgspec.Struct, frozen=True, eq=False):
    file: str
    content: Map

    @property
    def name(self) -> str | None:
        found = (self.content.get(key) for key in ("id", "name", "title"))
        return next((name for name in found if isinstance(name, str) and name), None)

    @property
    def handles(self) -> set[str]:
        """What a correlation may call it."""
        return {name for key in ("id", "name") if isinstance(name := self.content.get(key), str)}

    @property
    def place(self) -> str:
        return f"{self.file}:{self.content.line}"

    def refusal(self, err: LocatedError) -> Refusal:
        return Refusal(self.file, err.line, self.name, err.reason)


def shipped_rules() -> list[tuple[str, str]]:
    """Return the name and text of each rule file that comes with Sentinel, by name."""
    folder = resources.files("sentinel.detection") / "rules"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yml")), key=lambda file: file.name)
    return [(file.name, file.read_text("utf-8")) for file in files]


def parse_rules(documents_: Iterable[tuple[str, str]]) -> RuleSet:
    """
    Return the rules of some files, and what of them was refused.

    Args:
        documents_: File name and YAML text each; a text may hold several documents.

    Returns:
        Never raises for a bad rule: it stands in `refused`, and every rule that could be read is in `rules`.
    """
    found, refused, warnings = _read(documents_)
    rules: dict[str, Rule] = {}
    loaded: list[Rule] = []
    serving, generating = _referred_to(found)
    taken: dict[str, str] = {}
    for document in sorted(found, key=lambda document: "correlation" in document.content):
        try:
            _check_names(document, taken)
            emits = not document.handles & serving or bool(document.handles & generating)
            rule = _rule(document, rules, emits=emits)
        except LocatedError as err:
            refused.append(document.refusal(err))
            continue
        taken |= dict.fromkeys(document.handles or {rule.id}, document.place)
        rules |= dict.fromkeys(document.handles, rule)
        loaded.append(rule)
        warnings += _warnings(document)
    version = _digest(sorted(rule.hash for rule in loaded))
    refused.sort(key=lambda refusal: (refusal.file, refusal.line))
    return RuleSet(tuple(loaded), tuple(refused), tuple(warnings), version)


def _read(files: Iterable[tuple[str, str]]) -> tuple[list[_Document], list[Refusal], list[str]]:
    found: list[_Document] = []
    refused: list[Refusal] = []
    warnings: list[str] = []
    for file, text in files:
        for content in documents(text):
            if isinstance(content, LocatedError):
                refused.append(Refusal(file, content.line, None, content.reason))
            elif content.keys() & {"detection", "correlation"}:
                found.append(_Document(file, content))
            else:
                warnings.append(f"{file}:{content.line}: neither a detection nor a correlation; it has no effect")
    return found, refused, warnings


def _referred_to(found: Iterable[_Document]) -> tuple[set[str], set[str]]:
    """
    Return the handles that correlations refer to: without `generate`, and with it.

    A correlation that is refused counts too: otherwise each single event of its base would become a signal.
    """
    serving: set[str] = set()
    generating: set[str] = set()
    for document in found:
        correlation = document.content.get("correlation")
        if isinstance(correlation, Map):
            handles = generating if correlation.get("generate") is True else serving
            handles.update(handle for handle in _as_list(correlation.get("rules")) if isinstance(handle, str))
    return serving, generating


def _check_names(document: _Document, taken: Mapping[str, str]) -> None:
    for key in ("id", "name", "title"):
        value = document.content.get(key)
        if value is not None and not (isinstance(value, str) and value):
            raise document.content.error(key, f"{key!r} must be text")
    if document.name is None:
        raise document.content.error("", "a rule needs an id, a name or a title")
    for handle in (document.handles or {document.name}) & taken.keys():
        raise document.content.error("id", f"{handle!r} is already the rule at {taken[handle]}")


def _rule(document: _Document, rules: Mapping[str, Rule], *, emits: bool) -> Rule:
    content = document.content
    if "detection" in content and "correlation" in content:
        raise content.error("correlation", "a document holds a detection or a correlation; separate them by ---")
    if "action" in content:
        raise content.error("action", "'action' is not supported; write each rule out")
    title, name = content.get("title"), document.name
    assert name is not None, "_check_names has seen to it"
    settings = _settings(content)
    about = {
        "id": name,
        "title": title or name,
        "level": _word(content, "level", _LEVELS) or Severity.MEDIUM,
        "threat_type": _word(settings, "threat_type", {threat.value: threat for threat in ThreatType}),
        "confidence": _confidence(settings),
        "examples": _examples(settings),
        "emits": emits,
    }
    if "detection" in content:
        return _plain(content, settings, about)
    return _count(content, settings, about, rules)


def _plain(content: Map, settings: Map, about: dict[str, Any]) -> Rule:
    suppress = _timespan(settings, "suppress", _PLAIN_SUPPRESS)
    return Rule(
        **about,
        hash=_content_hash(content, ()),
        bases=(Base(_logsource(content), detection_predicate(_mapping(content, "detection"))),),
        threshold=1,
        timespan=suppress,
        suppress=suppress,
        group_by=tuple((name, getter(name)) for name in _names(settings, "subject") or _PLAIN_SUBJECTS),
        plain=True,
    )


def _count(content: Map, settings: Map, about: dict[str, Any], rules: Mapping[str, Rule]) -> Rule:
    correlation = _mapping(content, "correlation")
    _check_correlation(correlation)
    if "subject" in settings:
        raise settings.error("subject", "the subject of a correlation is what it groups by")
    for key in content.keys() & {"logsource"}:
        raise content.error(key, "a correlation has no log source of its own")
    referred = [_referred(correlation, handle, rules) for handle in _names(correlation, "rules")]
    if not referred:
        raise correlation.error("rules", "'rules' is missing")
    timespan = _timespan(correlation, "timespan", None)
    return Rule(
        **about,
        hash=_content_hash(content, [rule.hash for rule in referred]),
        bases=tuple(base for rule in referred for base in rule.bases),
        threshold=_threshold(correlation),
        timespan=timespan,
        suppress=_timespan(settings, "suppress", timespan),
        group_by=tuple((name, getter(name)) for name in _names(correlation, "group-by")),
        plain=False,
    )


def _check_correlation(correlation: Map) -> None:
    kind = correlation.get("type")
    if kind in _LATER_TYPES:
        raise correlation.error("type", f"correlation type {kind!r} is not supported yet")
    if kind != "event_count":
        raise correlation.error("type", "'type' must be event_count")
    for key in correlation.keys() - _CORRELATION:
        raise correlation.error(key, f"unknown or not supported yet in a correlation: {key!r}")
    if not isinstance(correlation.get("generate", False), bool):
        raise correlation.error("generate", "'generate' takes true or false")


def _referred(correlation: Map, handle: str, rules: Mapping[str, Rule]) -> Rule:
    rule = rules.get(handle)
    if rule is None:
        raise correlation.error("rules", f"the rule {handle!r} is not there or was refused")
    if not rule.plain:
        raise correlation.error("rules", f"{handle!r} is a correlation; a chain of correlations is not supported yet")
    return rule


def _threshold(correlation: Map) -> int:
    condition = correlation.get("condition")
    if not isinstance(condition, Map) or not condition:
        raise correlation.error("condition", "'condition' must be a mapping such as {gte: 10}")
    for key in condition.keys() - {"gt", "gte"}:
        raise condition.error(key, f"{key!r} is not supported yet in the condition of an event_count")
    if len(condition) > 1:
        raise correlation.error("condition", "a range is not supported yet in the condition of an event_count")
    ((key, bound),) = condition.items()
    least = 1 if key == "gte" else 0
    if type(bound) is not int or bound < least:
        raise condition.error(key, f"{key!r} takes a whole number, {least} or more")
    return bound + (key == "gt")


# --- parts of a document


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _names(content: Map, key: str) -> list[str]:
    names = _as_list(content.get(key))
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise content.error(key, f"{key!r} takes names, each once")
    return names


def _mapping(content: Map, key: str) -> Map:
    value = content.get(key)
    if not isinstance(value, Map):
        raise content.error(key, f"{key!r} must be a mapping")
    return value


def _word(content: Map, key: str, words: Mapping[str, Any]) -> Any:
    value = content.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or value not in words:
        raise content.error(key, f"{key!r} must be one of {', '.join(words)}")
    return words[value]


def _settings(content: Map) -> Map:
    """Return what stands under `sentinel:`, checked for unknown keys."""
    if "sentinel" not in content:
        return Map(content.line)
    settings = _mapping(content, "sentinel")
    for key in settings.keys() - _SENTINEL:
        raise settings.error(key, f"unknown key under sentinel: {key!r}")
    return settings


def _confidence(settings: Map) -> float:
    value = settings.get("confidence", _CONFIDENCE)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise settings.error("confidence", "'confidence' takes a number from 0 to 1")
    return float(value)


def _examples(settings: Map) -> Examples:
    try:
        examples = msgspec.convert(settings.get("examples", {}), Examples)
        for step in (step for run in (*examples.fires, *examples.silent) for step in run):
            parse_timespan(step.every)
    except (msgspec.ValidationError, ValueError) as err:
        raise settings.error("examples", f"'examples': {err}") from err
    return examples


def _timespan(content: Map, key: str, default: Micros | None) -> Micros:
    if key not in content and default is not None:
        return default
    try:
        return parse_timespan(content.get(key))
    except ValueError as err:
        raise content.error(key, f"{key!r}: {err}") from err


def parse_timespan(text: Any) -> Micros:
    """Return a timespan such as `90s`, `10m`, `24h`, `7d` or `2w` in microseconds; `ValueError` for anything else."""
    found = _TIMESPAN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("a timespan is a number and one of s, m, h, d, w, such as 10m")
    return int(found[1]) * _UNITS[found[2]]


def _logsource(content: Map) -> LogSource:
    source = _mapping(content, "logsource")
    for key in source.keys() - {"product", "category", "service", "definition"}:
        raise source.error(key, f"unknown key in logsource: {key!r}")
    for key in source.keys() - {"definition"}:
        if not isinstance(source[key], str):
            raise source.error(key, f"{key!r} must be text")
    product, category, service = (source.get(key) for key in ("product", "category", "service"))
    if not (product or category or service):
        raise content.error("logsource", "'logsource' needs a product, a category or a service")
    return tuple(part and part.lower() for part in (product, category, service))  # type: ignore[return-value]  # three


def _warnings(document: _Document) -> Iterable[str]:
    content = document.content
    for key in content.keys() - _KNOWN:
        yield f"{document.file}:{content.lines[key]}: {key!r} is not a key of Sigma and has no effect"
    source = content.get("logsource")
    if source and not _ours(source):
        line = content.lines["logsource"]
        yield f"{document.file}:{line}: no source of ours; only events whose details.logsource says so can match"


def _ours(source: Mapping[str, str]) -> bool:
    category = source.get("category", EventType.AUDIT_LOG).lower()
    return source.get("product", "sentinel").lower() == "sentinel" and category in set(EventType)


# --- hashes


def _content_hash(content: Map, referred: Collection[str]) -> str:
    does = {key: value for key, value in content.items() if key in _KNOWN - _PROSE}
    if "sentinel" in does:
        does["sentinel"] = {key: value for key, value in content["sentinel"].items() if key != "examples"}
    return _digest([json.dumps(does, sort_keys=True), *referred])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
