"""
Engines: each examines one text and yields findings.

Adding an engine is adding one module here whose `__all__` names one class that fits `Engine`. Its rules stand
in `scanning/rules/<id>.yaml`; one that is nothing but its rules returns `rule_findings`. An engine that finds nothing
in texts where none of its rules holds says `by_rules = True` and isn't asked about them; any other says False.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, Protocol, runtime_checkable

from sentinel.errors import ConfigError, ScanError
from sentinel.model import Finding, ScanThreat, ToolCall, Turn
from sentinel.scanning.rulebook import Hit
from sentinel.scanning.text import Source, Text
from sentinel.scanning.view import View

__all__ = [
    "CallEngine",
    "Engine",
    "Flags",
    "Ignores",
    "TurnEngine",
    "checked_findings",
    "load_engines",
    "rule_findings",
]

_MOST_FINDINGS = 100
"""Of one rule in one text, so that the answer stays small for any text."""


@dataclass(frozen=True, slots=True)
class Flags:
    """An example in which the engine must find something."""

    text: str
    source: Source = "prompt"


@dataclass(frozen=True, slots=True)
class Ignores:
    """An example in which the engine must find nothing."""

    text: str
    source: Source = "prompt"


@runtime_checkable
class Engine(Protocol):
    """What the scanner needs of an engine. Engines are stateless: many threads share one."""

    @property
    def id(self) -> str:
        """Name in results and settings; lower case, unique."""

    @property
    def title(self) -> str:
        """What it looks for, in a few words."""

    @property
    def threats(self) -> tuple[ScanThreat, ...]:
        """The threats that its findings may carry."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """The parts of the input that it examines."""

    @property
    def by_rules(self) -> bool:
        """Whether it finds nothing where none of its rules holds: it isn't asked about such texts."""

    @property
    def EXAMPLES(self) -> tuple[Flags | Ignores, ...]:  # noqa: N802 - a constant of the class
        """Texts that show what it does; tests run them."""

    def examine(self, text: Text) -> Iterable[Finding]:
        """Return what it finds in one text."""


@runtime_checkable
class CallEngine(Protocol):
    """An engine that also looks at the calls of tools together, such as a read followed by a mail."""

    def examine_calls(self, calls: Sequence[ToolCall]) -> Iterable[Finding]:
        """Return what it finds in the calls, in their order; sources are `tool_call:0` and so on."""


@runtime_checkable
class TurnEngine(Protocol):
    """An engine that also looks at a conversation."""

    def examine_turns(self, turns: Sequence[Turn], risks: Sequence[float]) -> Iterable[Finding]:
        """Return what it finds, given all turns, the prompt last, and the risk of each taken alone."""


def rule_findings(engine: Engine, text: Text) -> Iterable[Finding]:
    """Return the findings of an engine that is nothing but its rules."""
    return _first_findings(text.hits_of(engine.id), text) if text.hits else ()


def checked_findings(
    engine: Engine, text: Text, *, heeds: Callable[[View], bool], is_real: Callable[[Hit], bool]
) -> Iterator[Finding]:
    """
    Yield the findings of an engine whose rules say where something may be, and a check whether it is.

    Args:
        engine: Whose rules.
        text: What is examined.
        heeds: Whether a reading counts.
        is_real: Whether a hit passes the check.

    Raises:
        ScanError: Nothing is real, but a rule holds in more places than were looked at: nobody knows the others.
    """
    hits = (hit for hit in text.hits_of(engine.id) if heeds(hit.view) and is_real(hit))
    any_found = False
    for finding in _first_findings(hits, text):
        any_found = True
        yield finding
    unknown = (last for last in text.cut_after if last.rule.engine == engine.id and heeds(last.view))
    if not any_found and (last := next(unknown, None)):
        raise ScanError(f"{last.rule.id} holds in too many places to check them all")


def _first_findings(hits: Iterable[Hit], text: Text) -> Iterator[Finding]:
    """Yield a finding for each hit, of each rule only for the first ones: more say nothing new."""
    counts: Counter[str] = Counter()
    for hit in hits:
        counts[hit.rule.id] += 1
        if counts[hit.rule.id] <= _MOST_FINDINGS:
            yield hit.finding(text.source)


def load_engines(room: ModuleType | None = None) -> Mapping[str, Engine]:
    """
    Return the engines of all modules in a package, by id, in the order of the modules' names.

    Args:
        room: The package; by default this one.

    Raises:
        ConfigError: A module can't be imported, doesn't name exactly one engine, or repeats an id; names the file.
    """
    room = room or importlib.import_module(__name__)
    engines: dict[str, Engine] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(room.__path__)):
        engine = _engine_in(f"{room.__name__}.{name}")
        if engine.id in engines:
            raise ConfigError(f"the engine id {engine.id!r} is taken by another module", where=f"{name}.py")
        engines[engine.id] = engine
    return MappingProxyType(engines)


def _engine_in(module_name: str) -> Engine:
    where = f"{module_name.rpartition('.')[2]}.py"
    try:
        module = importlib.import_module(module_name)
    except Exception as err:
        # Whatever a plugin raises when it is imported, start-up ends with its name.
        raise ConfigError(f"can't be imported: {err}", where=where) from err
    names: Any = getattr(module, "__all__", ())
    if len(names) != 1:
        raise ConfigError("`__all__` must name exactly one engine class", where=where)
    engine = getattr(module, names[0])()
    if not isinstance(engine, Engine):
        raise ConfigError(
            f"{names[0]} lacks one of id, title, threats, sources, by_rules, EXAMPLES, examine()", where=where
        )
    return engine
