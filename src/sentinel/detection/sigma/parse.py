"""
Sigma documents -> rules. A rule that is not understood exactly is refused with its file and line; the others load.

Detections first, each with the filters that name it, then the correlations that refer to them and to each other by
`id` or `name`, in whichever file they stand.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from importlib import resources
from pathlib import PurePath
from typing import Any

import msgspec

from sentinel.detection.rule import (
    Base,
    Examples,
    LogSource,
    Part,
    Refusal,
    Rule,
    RuleSet,
    is_ours,
    read_amount,
    read_nothing,
    read_number,
    read_value,
)
from sentinel.detection.sigma.condition import detection_predicate
from sentinel.detection.sigma.document import LocatedError, Map, documents
from sentinel.detection.sigma.fields import getter, subject_type
from sentinel.detection.sigma.values import Placeholders, Predicate, all_of
from sentinel.detection.window import Amount, Condition, Kind, Reading
from sentinel.model import Micros, Severity, SubjectType, ThreatType

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
_CORRELATION = {"type", "rules", "group-by", "timespan", "condition", "generate", "aliases"}
_FILTER = {"rules", "condition"}
_BOUNDS = {"gt", "gte", "lt", "lte", "eq", "neq"}
_ALWAYS_OURS = {"event_id", "event_type", "severity", "timestamp"}
_MEASURED = {Kind.VALUE_COUNT: read_value, Kind.VALUE_SUM: read_amount, Kind.VALUE_AVG: read_number}
_STEPS = {Kind.TEMPORAL, Kind.TEMPORAL_ORDERED}
_MOST_STEPS = 16
_PLACEHOLDERS = "placeholders.yml"


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
    def refers_to(self) -> set[str]:
        """What a correlation says that it is about."""
        correlation = self.content.get("correlation")
        names = _as_list(correlation.get("rules")) if isinstance(correlation, Map) else []
        return {name for name in names if isinstance(name, str)}

    @property
    def lower_bound(self) -> tuple[Map, str] | None:
        """The condition of a correlation that asks for no more than a lower bound, and the bound's name in it."""
        correlation = self.content.get("correlation")
        condition = correlation.get("condition") if isinstance(correlation, Map) else None
        if not isinstance(condition, Map):
            return None
        bounds = condition.keys() & _BOUNDS
        return (condition, bounds.pop()) if len(bounds) == 1 and bounds <= {"gt", "gte"} else None

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


def parse_rules(documents_: Iterable[tuple[str, str]], thresholds: Mapping[str, float] | None = None) -> RuleSet:
    """
    Return the rules of some files, and what of them was refused.

    Args:
        documents_: File name and YAML text each; a text may hold several documents. A file `placeholders.yml` says what
            the placeholders in the rules of its folder stand for.
        thresholds: By rule, the number that stands in place of the lower bound in its condition.

    Returns:
        Never raises for a bad rule: it stands in `refused`, and every rule that could be read is in `rules`.
    """
    reading = _Reading(documents_)
    reading.set_thresholds(thresholds or {})
    serving, generating = _referred_to(reading.found)
    for document in reading.found:
        if "filter" in document.content:
            reading.attempt(document, partial(reading.take_filter, document))
    for document in reading.in_order():
        emits = not document.handles & serving or bool(document.handles & generating)
        reading.attempt(document, partial(reading.take_rule, document, emits=emits))
    reading.warn_of_idle_filters()
    version = _digest(sorted(rule.hash for rule in reading.loaded))
    refused = sorted(reading.refused, key=lambda refusal: (refusal.file, refusal.line))
    return RuleSet(tuple(reading.loaded), tuple(refused), tuple(reading.warnings), version)


class _Filter(msgspec.Struct, frozen=True, eq=False):
    """A condition that rules named in it must meet besides their own."""

    document: _Document
    logsource: LogSource
    rules: tuple[str, ...] | None
    """None: every rule for the log source."""
    asks: Predicate
    hash: str


class _Reading:
    """What a set of files has yielded so far."""

    def __init__(self, files: Iterable[tuple[str, str]]) -> None:
        self.found: list[_Document] = []
        self.refused: list[Refusal] = []
        self.warnings: list[str] = []
        self.loaded: list[Rule] = []
        self._rules: dict[str, Rule] = {}
        self._taken: dict[str, str] = {}
        self._filters: list[_Filter] = []
        self._used: set[_Document] = set()
        self._placeholders: dict[PurePath, Placeholders] = {}
        for file, text in files:
            self._read(file, text)

    def _read(self, file: str, text: str) -> None:
        for content in documents(text):
            if isinstance(content, LocatedError):
                self.refused.append(Refusal(file, content.line, None, content.reason))
            elif PurePath(file).name == _PLACEHOLDERS:
                self._read_placeholders(file, content)
            elif content.keys() & {"detection", "correlation", "filter"}:
                self.found.append(_Document(file, content))
            else:
                self.warnings.append(f"{file}:{content.line}: neither a detection nor a correlation; it has no effect")

    def _read_placeholders(self, file: str, content: Map) -> None:
        known: dict[str, list[str]] = {}
        for name, values in content.items():
            texts = _as_list(values)
            if texts and all(isinstance(each, str) and each for each in texts):
                known[name] = texts
            else:
                reason = f"the placeholder {name!r} takes a text or a list of texts"
                self.refused.append(Refusal(file, content.lines[name], None, reason))
        self._placeholders[PurePath(file).parent] = known

    def set_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """Put other numbers in place of lower bounds, as if the files said so."""
        known = {document.name: document for document in self.found}
        for rule, value in thresholds.items():
            condition = known[rule].lower_bound if rule in known else None
            if condition is None:
                self.warnings.append(f"thresholds: no rule {rule!r} has a lower bound; its threshold has no effect")
            else:
                bounds, name = condition
                bounds[name] = value

    def attempt(self, document: _Document, step: Callable[[], None]) -> None:
        """Do something with a document that can turn out to be refused."""
        try:
            step()
        except LocatedError as err:
            self.refused.append(document.refusal(err))

    def in_order(self) -> Iterable[_Document]:
        """Return each rule after those that it refers to; what refers to itself in a circle is refused."""
        waiting = [document for document in self.found if "filter" not in document.content]
        waiting.sort(key=lambda document: "correlation" in document.content)
        while waiting:
            open_handles = {handle for document in waiting for handle in document.handles}
            ready = [document for document in waiting if not document.refers_to & open_handles - document.handles]
            ready = [document for document in ready if not document.refers_to & document.handles]
            yield from ready
            if not ready:
                self.refused += [document.refusal(_circle(document)) for document in waiting]
                return
            waiting = [document for document in waiting if document not in ready]

    def take_filter(self, document: _Document) -> None:
        """Understand a filter; what it does shows in the rules that it names."""
        content = document.content
        _check_names(document, self._taken)
        body = _mapping(content, "filter")
        if content.keys() & {"detection", "correlation"}:
            raise content.error("filter", "a document holds a rule or a filter; separate them by ---")
        names = _names(body, "rules")
        asked = Map(body.line)
        asked.lines = body.lines
        asked |= {key: value for key, value in body.items() if key != "rules"}
        logsource = _logsource(content)
        asks = detection_predicate(asked, self._placeholders_for(document))
        rules = None if names in ([], ["any"]) else tuple(names)
        self._filters.append(_Filter(document, logsource, rules, asks, _digest([json.dumps([logsource, body])])))

    def take_rule(self, document: _Document, *, emits: bool) -> None:
        """Understand a rule."""
        _check_names(document, self._taken)
        rule = self._rule(document, emits=emits)
        self._taken |= dict.fromkeys(document.handles or {rule.id}, document.place)
        self._rules |= dict.fromkeys(document.handles, rule)
        self.loaded.append(rule)
        self.warnings += [*_warnings(document), *_hidden_names(document, rule)]

    def _rule(self, document: _Document, *, emits: bool) -> Rule:
        content = document.content
        if "detection" in content and "correlation" in content:
            raise content.error("correlation", "a document holds a detection or a correlation; separate them by ---")
        if "action" in content:
            raise content.error("action", "'action' is not supported; write each rule out")
        settings = _settings(content)
        about = _about(document, settings, emits=emits)
        if "correlation" in content:
            return _correlation(content, settings, about, self._rules)
        filters = [each for each in self._filters if _applies(each, document)]
        self._used.update(each.document for each in filters)
        return _plain(content, settings, about, filters, self._placeholders_for(document))

    def _placeholders_for(self, document: _Document) -> Placeholders:
        folders = PurePath(document.file).parents
        return next((self._placeholders[folder] for folder in folders if folder in self._placeholders), {})

    def warn_of_idle_filters(self) -> None:
        """Point out what filters nothing: most likely the rule has another name by now."""
        for document in (each.document for each in self._filters if each.document not in self._used):
            self.warnings.append(f"{document.place}: the filter names no rule that is loaded; it has no effect")


def _circle(document: _Document) -> LocatedError:
    correlation = document.content["correlation"]
    return LocatedError("the correlation refers to itself, directly or through others", correlation.lines["rules"])


def _applies(found: _Filter, document: _Document) -> bool:
    if found.rules is not None and not document.handles & set(found.rules):
        return False
    wanted = _logsource(document.content)
    return all(part is None or part == have for part, have in zip(found.logsource, wanted, strict=True))


def _referred_to(found: Iterable[_Document]) -> tuple[set[str], set[str]]:
    """
    Return the handles that correlations refer to: without `generate`, and with it.

    A correlation that is refused counts too: otherwise each single event of its base would become a signal.
    """
    serving: set[str] = set()
    generating: set[str] = set()
    for document in found:
        correlation = document.content.get("correlation")
        generates = isinstance(correlation, Map) and correlation.get("generate") is True
        (generating if generates else serving).update(document.refers_to)
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


def _about(document: _Document, settings: Map, *, emits: bool) -> dict[str, Any]:
    content, name = document.content, document.name
    assert name is not None, "_check_names has seen to it"
    return {
        "id": name,
        "title": content.get("title") or name,
        "level": _word(content, "level", _LEVELS) or Severity.MEDIUM,
        "threat_type": _word(settings, "threat_type", {threat.value: threat for threat in ThreatType}),
        "confidence": _confidence(settings),
        "examples": _examples(settings),
        "emits": emits,
    }


def _plain(
    content: Map,
    settings: Map,
    about: dict[str, Any],
    filters: Sequence[_Filter],
    placeholders: Placeholders,
) -> Rule:
    suppress = _timespan(settings, "suppress", _PLAIN_SUPPRESS)
    logsource = _logsource(content)
    asks = all_of([detection_predicate(_mapping(content, "detection"), placeholders), *(f.asks for f in filters)])
    fields = [(name, name) for name in _names(settings, "subject") or _PLAIN_SUBJECTS]
    return Rule(
        **about,
        hash=_content_hash(content, [*_expanded(content, placeholders), *(found.hash for found in filters)]),
        kind=Kind.EVENT_COUNT,
        parts=(_direct(Base(logsource, asks), fields, read_nothing, None, plain=True),),
        condition=Condition((("gte", 1),)),
        timespan=suppress,
        suppress=suppress,
        group_by=_kinds(fields),
        plain=True,
    )


def _direct(
    base: Base,
    fields: Sequence[tuple[str, str]],
    read: Callable[[object], Reading | None],
    measured: str | None,
    *,
    plain: bool,
) -> Part:
    getters = tuple(getter(field) for _, field in fields)
    return Part(base, tuple(fields), getters, plain, read, measured, measured and getter(measured))  # type: ignore[arg-type]  # no field, no getter


def _kinds(fields: Iterable[tuple[str, str]]) -> tuple[tuple[str, SubjectType], ...]:
    """Return what each field of a group says a subject is; behind an alias, the field that it stands for."""
    return tuple((name, max(subject_type(name), subject_type(field), key=_TOLD.index)) for name, field in fields)


_TOLD = [SubjectType.GLOBAL, *(kind for kind in SubjectType if kind is not SubjectType.GLOBAL)]


def _correlation(content: Map, settings: Map, about: dict[str, Any], rules: Mapping[str, Rule]) -> Rule:
    correlation = _mapping(content, "correlation")
    kind = _kind(correlation)
    if "subject" in settings:
        raise settings.error("subject", "the subject of a correlation is what it groups by")
    if "logsource" in content:
        raise content.error("logsource", "a correlation has no log source of its own")
    handles = _names(correlation, "rules")
    if not handles:
        raise correlation.error("rules", "'rules' is missing")
    if len(handles) > _MOST_STEPS and kind in _STEPS:
        raise correlation.error("rules", f"a correlation of type {kind.value!r} takes at most {_MOST_STEPS} rules")
    condition, field = _condition(correlation, kind, len(handles))
    names = [*_names(correlation, "group-by")]
    aliases = _aliases(correlation, handles)
    parts = []
    for step, handle in enumerate(handles):
        rule = _referred(correlation, handle, rules)
        fields = [(name, aliases.get(name, {}).get(handle, name)) for name in names]
        measured = field and aliases.get(field, {}).get(handle, field)
        read = _MEASURED.get(kind) or (partial(_read_step, (step,)) if kind in _STEPS else read_nothing)
        parts.append(_part(correlation, rule, fields, read, measured))
    timespan = _timespan(correlation, "timespan", None)
    rule = Rule(
        **about,
        hash=_content_hash(content, [_referred(correlation, handle, rules).hash for handle in handles]),
        kind=kind,
        parts=tuple(parts),
        condition=condition,
        timespan=timespan,
        suppress=_timespan(settings, "suppress", timespan),
        group_by=_kinds(parts[0].fields),
        plain=False,
    )
    if rule.over_anomalies and any(each.on_close for each in rule.closure):
        raise correlation.error(
            "condition",
            "anomalies are found hours after what they tell of, so no window over them can be judged on closing: "
            "a condition that more events can undo (lt, lte, eq, neq, an average) does not go with them",
        )
    return rule


def _read_step(step: Reading, _: object) -> Reading:
    return step


def _kind(correlation: Map) -> Kind:
    kind = correlation.get("type")
    if not isinstance(kind, str) or kind not in set(Kind):
        raise correlation.error("type", f"correlation type {kind!r} is not supported; there are {', '.join(Kind)}")
    for key in correlation.keys() - _CORRELATION:
        raise correlation.error(key, f"unknown key in a correlation: {key!r}")
    if not isinstance(correlation.get("generate", False), bool):
        raise correlation.error("generate", "'generate' takes true or false")
    return Kind(kind)


def _part(
    correlation: Map,
    rule: Rule,
    fields: Sequence[tuple[str, str]],
    read: Callable[[object], Reading | None],
    measured: str | None,
) -> Part:
    """Return what is read of a rule. A correlation shows its group and nothing else (decisions, C7)."""
    if rule.plain:
        [base] = rule.bases
        return msgspec.structs.replace(_direct(base, fields, read, measured, plain=False), name=rule.id)
    shown = {name for name, _ in rule.group_by}
    for wanted in (*(field for _, field in fields), *([measured] if measured else [])):
        if wanted not in shown:
            key = "condition" if wanted == measured else "group-by"
            raise correlation.error(key, f"{rule.id!r} is a correlation that does not group by {wanted!r}")
    return Part(rule, tuple(fields), (), plain=False, read=read, measured=measured)


def _aliases(correlation: Map, handles: Collection[str]) -> dict[str, dict[str, str]]:
    """Return, by alias, what the field is called in each rule."""
    found: dict[str, dict[str, str]] = {}
    if "aliases" not in correlation:
        return found
    aliases = _mapping(correlation, "aliases")
    for alias in aliases:
        names = _mapping(aliases, alias)
        for handle, field in names.items():
            if handle not in handles:
                raise names.error(handle, f"the alias {alias!r} names {handle!r}, which is not among the rules")
            if not isinstance(field, str) or not field:
                raise names.error(handle, f"the alias {alias!r} takes a field name for each rule")
        found[alias] = dict(names)
    return found


def _referred(correlation: Map, handle: str, rules: Mapping[str, Rule]) -> Rule:
    rule = rules.get(handle)
    if rule is None:
        raise correlation.error("rules", f"the rule {handle!r} is not there or was refused")
    return rule


def _condition(correlation: Map, kind: Kind, rules: int) -> tuple[Condition, str | None]:
    """Return the bounds, and the field that is measured."""
    content = correlation.get("condition")
    if content is None and kind in _STEPS:
        return Condition((("gte", rules),)), None
    if kind is Kind.TEMPORAL_ORDERED:
        raise correlation.error("condition", "a correlation of type 'temporal_ordered' asks for all of its rules")
    if not isinstance(content, Map) or not content.keys() - {"field"}:
        raise correlation.error("condition", "'condition' must be a mapping such as {gte: 10}")
    for key in content.keys() - _BOUNDS - {"field"}:
        raise content.error(key, f"{key!r} is not supported in a condition; there are {', '.join(sorted(_BOUNDS))}")
    field = content.get("field")
    if (kind in _MEASURED) is not isinstance(field, str) or field == "":
        takes = "needs one 'field'" if kind in _MEASURED else "takes no 'field'"
        raise content.error("field", f"the condition of type {kind.value!r} {takes}")
    bounds = tuple((key, _bound(content, key, kind)) for key in content if key != "field")
    condition = Condition(bounds)
    _check_possible(correlation, condition, kind, rules)
    return condition, field


def _bound(content: Map, key: str, kind: Kind) -> Amount:
    value = content[key]
    if kind in {Kind.VALUE_SUM, Kind.VALUE_AVG}:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise content.error(key, f"{key!r} takes a number")
        return value if isinstance(value, int) else Fraction(value)
    if type(value) is not int or value < 0:
        raise content.error(key, f"{key!r} takes a whole number, 0 or more")
    return value


def _check_possible(correlation: Map, condition: Condition, kind: Kind, rules: int) -> None:
    """Refuse what holds for nothing, or, as a lower bound, for everything."""
    if kind is Kind.VALUE_AVG:
        return
    if condition.rising and condition.holds(0):
        raise correlation.error("condition", "every event meets this condition; ask for 1 or more")
    if kind is Kind.VALUE_SUM:
        return
    highest = int(max(bound for _, bound in condition.bounds)) + 1
    counts = range(1, min(highest, rules) + 1 if kind is Kind.TEMPORAL else highest + 1)
    if not any(map(condition.holds, counts)):
        raise correlation.error("condition", "nothing meets this condition: what is counted has at least one event")


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
    if "logsource" in content and not is_ours(_logsource(content)):
        line = content.lines["logsource"]
        yield f"{document.file}:{line}: no source of ours; only events whose details.logsource says so can match"


def _hidden_names(document: _Document, rule: Rule) -> Iterable[str]:
    """Foreign events have fields of ours besides their own, and ours stand before those of the same name."""
    content = document.content
    asked = {field for base in rule.bases if not is_ours(base.logsource) for field in base.asks.fields}
    for name in sorted(asked & _ALWAYS_OURS if "detection" in content else ()):
        place = f"{document.file}:{content.lines['detection']}"
        yield f"{place}: {name!r} is a field of every event of ours; write 'details.{name}' for that of the log"


# --- hashes


def _expanded(content: Map, placeholders: Placeholders) -> list[str]:
    """Return what a rule's meaning takes from its folder's placeholders."""
    return [json.dumps(placeholders, sort_keys=True)] if "|expand" in json.dumps(content.get("detection")) else []


def _content_hash(content: Map, referred: Collection[str]) -> str:
    does = {key: value for key, value in content.items() if key in _KNOWN - _PROSE}
    if "sentinel" in does:
        does["sentinel"] = {key: value for key, value in content["sentinel"].items() if key != "examples"}
    return _digest([json.dumps(does, sort_keys=True), *referred])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
