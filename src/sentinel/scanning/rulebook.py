"""
All rules, compiled once, and the places in a view where they hold.

A rule is searched for where the view has the words that it needs (`needles.py`): of some hundred rules that leaves a
handful. The few of which no such words are known are one RE2 Set, which says in a single pass, linear in the text,
which of them hold somewhere.

In a long text more words stand, and more rules are left. It is examined with Sets too, those with a rule that is left.
One Set of all rules would be one pass instead of dozens, but its automaton must remember every combination of
half-matched rules, and with some hundred rules those no longer fit into memory. What a rule file looks like stands in
`rules/README.md`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import islice
from typing import Annotated, Any

import msgspec
import re2
import yaml

from sentinel.errors import RuleError
from sentinel.model import Finding, ScanThreat, Severity
from sentinel.scanning.needles import Sieve
from sentinel.scanning.view import View

__all__ = ["MOST_HITS", "Hit", "Matching", "Rule", "RuleBook", "load_rules", "matching_of"]

_MEMORY_BYTES = 8 * 2**20
"""At most, for each automaton. With less a Set's is rebuilt so often that a long text costs tens of times more."""
_LONG_BYTES = 16_384
"""From here on a text is examined with Sets; below, a search for each rule that is left costs less."""
_SET = 16_000
"""Instructions of a Set, about: some ten rules. The words of attacks in random order, the worst text that we know, then
cost a tenth of what they cost with one Set a file."""
MOST_HITS = 1000
"""Of one rule in one view. Where a rule is enough more say nothing new; an engine that checks each must count them."""
_SPACE = r"(?:[\s>*\"'`~,]+)"
"""What a space in a pattern stands for: line breaks, quote marks of mails and emphasis may stand between two words."""
_COUNTED = re.compile(r"\{(?:\d*,)?(\d+)\}")
_PER_CHARACTER = 10
"""Instructions for one character of a class that is no list of ASCII: it has one to four bytes."""
_DENIAL_CHARS = 100
"""Before a hit, among which the words stand that deny it; twice as many as the longest take."""
_WORD_LIST = re.compile(r"\{([a-z][a-z_]*)\}")

_ANYWHERE = getattr(getattr(re2, "_Anchor", None), "UNANCHORED", None)
_NOWHERE = (-1, -1)

Weight = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pattern and what it means when it holds."""

    id: str
    engine: str
    """The stem of the file that it stands in."""
    line: int
    pattern: str
    """RE2, with word lists and spaces expanded; ignores case unless it says `(?-i)`."""
    message: str
    threat: ScanThreat
    category: str
    severity: Severity
    weight: Weight
    """How sure one hit makes us, in [0, 1]; 0.5 and more is unsafe on its own."""
    tags: tuple[str, ...]
    """OWASP LLM Top 10 (2025) and MITRE ATLAS ids."""
    flags: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Texts in which the rule holds."""
    ignores: tuple[str, ...] = ()
    """Texts in which it must not hold."""
    denied: str = ""
    """RE2 of the words that make a hit the contrary of itself when it follows right after them: `never `."""


class Hit(msgspec.Struct, frozen=True, eq=False):
    """A rule held in a view, at characters `start` to `end` of it."""

    rule: Rule
    view: View
    start: int
    end: int

    @property
    def text(self) -> str:
        """What matched, as the view reads it."""
        return self.view.text[self.start : self.end]

    @property
    def span(self) -> tuple[int, int]:
        """The place in the original text."""
        return self.view.span(self.start, self.end)

    def finding(self, source: str) -> Finding:
        """Return the hit as a finding in the input's part `source`."""
        return Finding(
            category=self.rule.category,
            message=self.rule.message,
            severity=self.rule.severity,
            confidence=self.rule.weight,
            engine=self.rule.engine,
            span=self.span,
            rule_id=self.rule.id,
            threat=self.rule.threat,
            view=self.view.name,
            source=source,
        )


Matching = Callable[[bytes], Sequence[int] | None]
"""Tells which patterns of a Set hold somewhere in a text, if any does."""
Match = Callable[[Any, bytes, int, int], Sequence[tuple[int, int]]]
"""Gives the places of the first match and of its groups."""


class RuleBook:
    """
    Rules, compiled together. Immutable, and safe to use from many threads.

    Raises:
        RuleError: An id is taken, or a pattern that is needed at once does not compile; `check` tells of the others.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        _refuse_duplicates(self.rules)
        self._patterns: dict[int, tuple[Any, Match]] = {}
        """Of the rules that were left once, by their places; two threads may put the same there, and no harm is done.
        To compile them all takes a fifth of what a start takes."""
        self._denials = {rule.denied: _ending(rule) for rule in self.rules if rule.denied}
        self._sieve = Sieve([rule.pattern for rule in self.rules])
        always = [self.rules[place] for place in self._sieve.always]
        self._always: Matching = _set_of(always) if always else lambda _: None
        self.version = _version(self.rules)
        """Twelve hexadecimal digits that change when any rule judges differently."""

    def hits(self, view: View, left: Sequence[int] | None = None) -> Iterator[Hit]:
        """
        Yield where rules hold in a view, rule by rule, at most 1,000 places each.

        Args:
            view: What is read.
            left: What `left_of` says of its text; by default it is found out here.
        """
        if left is not None and not left:
            return
        octets = view.text.encode()
        size = len(octets)
        # Bytes and characters of ASCII count alike, and RE2 spares itself the conversion of each place.
        text = octets if view.text.isascii() else view.text
        for place in self._left(view.text, octets) if left is None else left:
            pattern, match = self._patterns.get(place) or self._pattern(place)
            if match(_ANYWHERE, octets, 0, size)[0] == _NOWHERE:
                continue
            rule = self.rules[place]
            places = (match.span() for match in pattern.finditer(text))
            # Those that are denied don't count among the first: a thousand of them would hide an attack.
            real = (place for place in places if not self._is_denied(rule, view.text, place[0]))
            yield from (Hit(rule, view, start, end) for start, end in islice(real, MOST_HITS))

    def _is_denied(self, rule: Rule, text: str, at: int) -> bool:
        denial = self._denials.get(rule.denied)
        return denial is not None and denial.search(text[max(0, at - _DENIAL_CHARS) : at]) is not None

    def check(self) -> None:
        """
        Compile each pattern, and try it on what costs little: `sentinel rules test` and the tests try all examples.

        Raises:
            RuleError: A pattern does not compile, is too large, matches the empty text or misses an example.
        """
        for place, rule in enumerate(self.rules):
            if self._holds(place, ""):
                raise RuleError(f"{rule.id}: the pattern matches the empty text", where=_place(rule))
            is_last = place + 1 == len(self.rules) or self.rules[place + 1].engine != rule.engine
            if is_last and not self._holds(place, rule.flags[0]):
                raise RuleError(f"{rule.id}: the pattern does not hold in its first `flags:`", where=_place(rule))

    def _pattern(self, place: int) -> tuple[Any, Match]:
        pattern = _compiled(self.rules[place])
        found = self._patterns[place] = pattern, _match_of(pattern)
        return found

    def _holds(self, place: int, text: str) -> bool:
        return self._pattern(place)[0].search(text) is not None

    def left_of(self, texts: Sequence[str]) -> list[list[int]]:
        """
        Return for each text the places of the rules that may hold in it: for many texts at less than for each alone.

        Args:
            texts: Short ones, of less than 16 KiB; RE2 must be able to encode them.
        """
        always, asked = self._sieve.always, self._always
        of_always = [asked(text.encode()) for text in texts]
        named = self._sieve.candidates_of(texts)
        return [
            sorted([*places, *(always[one] for one in found)]) if found else places
            for places, found in zip(named, of_always, strict=True)
        ]

    def _left(self, text: str, octets: bytes) -> list[int]:
        """Return the places of the rules that may hold in a text, in order."""
        left = self._sieve.candidates(text)
        if len(octets) >= _LONG_BYTES:
            left = list(self._holding(set(left), octets))
        left += (self._sieve.always[found] for found in self._always(octets) or ())
        return sorted(left)

    def _holding(self, places: AbstractSet[int], octets: bytes) -> Iterator[int]:
        """Yield those of some rules that hold in a text, by the Sets that have one of them."""
        for of_set, matching in self._sets:
            if not places.isdisjoint(of_set):
                yield from (of_set[found] for found in matching(octets) or ())

    @cached_property
    def _sets(self) -> Sequence[tuple[list[int], Matching]]:
        """
        Of all rules that need words, each Set with the places of its rules.

        Compiled for the first long text, and for each of those that several threads have at once.
        """
        return tuple(self._sets_of(sorted(set(range(len(self.rules))).difference(self._sieve.always))))

    def _sets_of(self, places: Iterable[int]) -> Iterator[tuple[list[int], Matching]]:
        """Yield Sets of patterns, no two files' in one."""
        of_set: list[int] = []
        size = 0
        for place in places:
            rule = self.rules[place]
            of_rule = _instructions(rule.pattern)
            size += of_rule
            if of_set and (rule.engine != self.rules[of_set[0]].engine or size > _SET):
                yield of_set, _set_of([self.rules[one] for one in of_set])
                of_set, size = [], of_rule
            of_set.append(place)
        if of_set:
            yield of_set, _set_of([self.rules[one] for one in of_set])


def load_rules(folder: Traversable | None = None) -> RuleBook:
    """
    Return the rules of all `*.yaml` files in a folder, by default the shipped ones, which the tests have checked.

    Raises:
        RuleError: A file or a rule can't be used; says which, with the line.
    """
    own = resources.files("sentinel.scanning") / "rules"
    files = sorted(
        (file for file in (folder or own).iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name
    )
    rules = RuleBook(rule for file in files for rule in _rules_in(file))
    if folder is not None:
        rules.check()
    return rules


class _RuleLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml where there is one
    """Safe YAML in which each mapping knows its `line`."""


def _mapping_with_line(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    return {**loader.construct_mapping(node, deep=True), "line": node.start_mark.line + 1}


_RuleLoader.add_constructor("tag:yaml.org,2002:map", _mapping_with_line)


class _RuleFile(msgspec.Struct, forbid_unknown_fields=True):
    line: int
    rules: list[dict[str, Any]]
    words: dict[str, str | int] = {}
    denied: str = ""


def _rules_in(file: Traversable) -> Iterator[Rule]:
    try:
        content = msgspec.convert(yaml.load(file.read_text(encoding="utf-8"), _RuleLoader), _RuleFile)  # noqa: S506 - safe: derives from SafeLoader
    except yaml.MarkedYAMLError as err:
        line = err.problem_mark.line + 1 if err.problem_mark else 1
        raise RuleError(f"not valid YAML: {err.problem}", where=f"{file.name}:{line}") from err
    except msgspec.ValidationError as err:
        raise RuleError(str(err), where=file.name) from err
    for raw in content.rules:
        yield _rule({"denied": content.denied, **raw}, content.words, file.name)


def _rule(raw: dict[str, Any], words: dict[str, str | int], file_name: str) -> Rule:
    where = f"{file_name}:{raw['line']}"
    try:
        pattern = _WORD_LIST.sub(lambda name: f"(?:{words[name[1]]})", raw.get("pattern", ""))
        spaced = "(?i)" + pattern.replace(" ", _SPACE)
        return msgspec.convert({**raw, "pattern": spaced, "engine": file_name.removesuffix(".yaml")}, Rule)
    except KeyError as err:
        raise RuleError(f"no word list is called {err}; name it under `words:`", where=where) from None
    except msgspec.ValidationError as err:
        raise RuleError(str(err), where=where) from err


def _version(rules: Iterable[Rule]) -> str:
    judging = [(r.id, r.engine, r.pattern, r.threat, r.category, r.severity, r.weight, r.denied) for r in rules]
    return hashlib.sha256(msgspec.json.encode(judging)).hexdigest()[:12]


def _place(rule: Rule) -> str:
    return f"{rule.engine}.yaml:{rule.line}"


def _refuse_duplicates(rules: Iterable[Rule]) -> None:
    seen: dict[str, Rule] = {}
    for rule in rules:
        if first := seen.get(rule.id):
            raise RuleError(f"{rule.id}: the id is taken at {_place(first)}", where=_place(rule))
        seen[rule.id] = rule


def _options() -> re2.Options:
    options = re2.Options()
    # A pattern that doesn't compile raises; RE2 would also print it.
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    return options


def _instructions(pattern: str) -> int:
    """Return about how many instructions RE2 makes of a pattern; to have them counted would take compiling it."""
    repeated = sum(int(most) for most in _COUNTED.findall(pattern))
    return len(pattern.encode()) + _PER_CHARACTER * repeated


def _compiled(rule: Rule) -> Any:
    return _pattern_of(rule, rule.pattern, "the pattern")


def _ending(rule: Rule) -> Any:
    return _pattern_of(rule, f"(?i)(?:{rule.denied})$", "`denied:`")


def _pattern_of(rule: Rule, pattern: str, what: str) -> Any:
    try:
        return re2.compile(pattern, _options())
    except re2.error as err:
        raise RuleError(f"{rule.id}: {what} does not compile: {_reason(err)}", where=_place(rule)) from err


def _reason(err: Exception) -> str:
    """Return RE2's message, which arrives as bytes."""
    reason = err.args[0] if err.args else ""
    return reason.decode() if isinstance(reason, bytes) else str(reason)


def matching_of(patterns: re2.Set) -> Matching:
    """Return a Set's `Match` for bytes, where there is one without the wrapper that takes a third of its time."""
    matching: Matching = getattr(patterns, "_set", patterns).Match
    return matching


def _match_of(pattern: Any) -> Match:
    """Return a pattern's `Match`, where there is one without the wrapper that takes longer than 200 characters do."""

    def wrapped(_anchor: object, octets: bytes, start: int, end: int) -> Sequence[tuple[int, int]]:
        found = pattern.search(octets, start, end)
        return [_NOWHERE if found is None else found.span()]

    match: Match = getattr(getattr(pattern, "_regexp", None), "Match", wrapped)
    return match


def _set_of(rules: Sequence[Rule]) -> Matching:
    patterns = re2.Set.SearchSet(_options())
    try:
        for rule in rules:
            patterns.Add(rule.pattern)
        patterns.Compile()
    except re2.error as err:
        for rule in rules:
            _compiled(rule)  # if it is one of them, says which and why
        raise RuleError("the patterns are too large for one Set; split them", where=_place(rules[0])) from err
    return matching_of(patterns)
