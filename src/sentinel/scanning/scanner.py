"""
Text in, `ScanResult` out: reads the text, asks the engines, fuses what they say.

The one impure thing in this room is the monotonic clock behind `latency_ms`; no verdict depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from sentinel.errors import ConfigError, InputTooLong
from sentinel.model import Finding, ScanResult
from sentinel.scanning.engines import Engine, load_engines
from sentinel.scanning.fuse import OnError, judge
from sentinel.scanning.rulebook import RuleBook, load_rules
from sentinel.scanning.text import Source, Text, read

__all__ = ["MAX_BYTES", "Scanner"]

MAX_BYTES = 2 * 2**20
"""Of each text, as UTF-8. Longer ones are refused: judged in part they would pass as judged."""
_VIEWS = "views"
"""Stands in `failed_engines` when a text hides more readings than the bounds allow."""
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Scanner:
    """
    Judges texts. Immutable: share one between threads and tasks.

    Args:
        engines: By id; by default the shipped ones.
        rules: By default the shipped ones.
        on_error: What an engine's failure means: `flag` the text (default) or `block` it.

    Raises:
        ConfigError: An engine or a rule can't be loaded; names the file.
    """

    engines: Mapping[str, Engine] = field(default_factory=load_engines)
    rules: RuleBook = field(default_factory=load_rules)
    on_error: OnError = "flag"

    def scan(self, prompt: str, response: str | None = None, *, engines: Iterable[str] | None = None) -> ScanResult:
        """
        Return the verdict on a prompt and, if there is one, the response to it.

        Args:
            prompt: At most 2 MiB of UTF-8; may be empty.
            response: Likewise.
            engines: The ids of the engines to ask; by default all.

        Raises:
            TypeError: A text is no `str`.
            InputTooLong: A text is longer than 2 MiB.
            ConfigError: An engine is unknown, or none is named.
        """
        started = perf_counter()
        chosen = self._chosen(engines)
        texts = [read("prompt", _checked("prompt", prompt), self.rules)]
        if response is not None:
            texts.append(read("response", _checked("response", response), self.rules))
        findings, failed = _examined(chosen, texts)
        verdict = judge(findings, failed=bool(failed), on_error=self.on_error)
        return ScanResult(
            **verdict._asdict(),
            triggered_engines=tuple(dict.fromkeys(finding.engine for finding in findings)),
            findings=tuple(findings),
            failed_engines=tuple(failed),
            version=self.rules.version,
            latency_ms=(perf_counter() - started) * 1000,
        )

    def _chosen(self, ids: Iterable[str] | None) -> list[Engine]:
        if ids is None:
            return list(self.engines.values())
        wanted = [ids] if isinstance(ids, str) else list(ids)
        if unknown := [engine for engine in wanted if engine not in self.engines]:
            raise ConfigError(f"unknown engine {unknown[0]!r}; there are: {', '.join(self.engines)}", where="engines")
        if not wanted:
            raise ConfigError("no engine is named, so nothing would be judged; leave it out for all", where="engines")
        return [engine for engine in self.engines.values() if engine.id in wanted]


def _checked(source: Source, text: str) -> str:
    """Return the text with each lone surrogate, which UTF-8 and so RE2 can't carry, replaced by one character."""
    if not isinstance(text, str):
        raise TypeError(f"the {source} must be a str, not {type(text).__name__}")
    clean = text if text.isascii() else _SURROGATES.sub("\ufffd", text)
    if len(clean) > MAX_BYTES or len(clean.encode()) > MAX_BYTES:
        raise InputTooLong(f"the {source} is longer than {MAX_BYTES} bytes; split it and scan the parts")
    return clean


def _examined(engines: Iterable[Engine], texts: Iterable[Text]) -> tuple[list[Finding], list[str]]:
    findings: list[Finding] = []
    failed = [] if all(text.complete for text in texts) else [_VIEWS]
    for engine in engines:
        try:
            findings += [found for text in texts if text.source in engine.sources for found in engine.examine(text)]
        except Exception:  # noqa: BLE001 - an engine may break in any way; the result says so and is never silently safe
            failed.append(engine.id)
    return findings, failed
