"""
Engines: each examines one text and yields findings.

Adding an engine is adding one module here whose `__all__` names one class that fits `Engine`. Its rules stand
in `scanning/rules/<id>.yaml`; one that is nothing but its rules returns `rule_findings`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, Protocol, runtime_checkable

from sentinel.errors import ConfigError
from sentinel.model import Finding, ScanThreat, ToolCall, Turn
from sentinel.scanning.text import Source, Text

__all__ = ["CallEngine", "Engine", "Flags", "Ignores", "TurnEngine", "load_engines", "rule_findings"]


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
    return (hit.finding(text.source) for hit in text.hits_of(engine.id))


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
        raise ConfigError(f"{names[0]} lacks one of id, title, threats, sources, EXAMPLES, examine()", where=where)
    return engine
