"""
Text in, `ScanResult` out: reads the parts of the input, asks the engines, fuses what they say.

The one impure thing in this room is the monotonic clock: behind `latency_ms` and `engine_seconds`, and behind the time
budget. The clock is looked at between steps: each reading, each rule that holds in one, each engine, each finding, and
where an engine of ours calls `Text.check_time`. A step is at most one pass over one reading, so a scan ends soon after
its time; an engine of yours that does not return is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from types import MappingProxyType

import msgspec

from sentinel.errors import ConfigError
from sentinel.model import DEFAULT_DEPTH, Depth, EngineResult, Finding, ScanResult, Turn
from sentinel.scanning.ahead import looked_ahead
from sentinel.scanning.classify.encoder import Encoder
from sentinel.scanning.configure import Configuration, added_engines, ignored, terms_of
from sentinel.scanning.context import AnalysisContext
from sentinel.scanning.conversation import LOOK_BACK, Conversation
from sentinel.scanning.engines import CallEngine, Engine, TurnEngine, load_engines
from sentinel.scanning.engines.classifier import Classifier
from sentinel.scanning.engines.leak import Leak
from sentinel.scanning.fuse import THRESHOLD, OnError, Terms, Verdict, judge, risk
from sentinel.scanning.parts import MAX_BYTES, Joined, Part, checked, documents_joined, named_place, parts_of
from sentinel.scanning.pipeline import LAYERS, layer_of, run
from sentinel.scanning.rulebook import RuleBook, load_rules
from sentinel.scanning.second_look import SecondLook, checked_depth, encoder_for
from sentinel.scanning.taxonomy import TAXONOMY
from sentinel.scanning.text import NOTHING, Ahead, Source, Text, Time, read
from sentinel.scanning.turns import turns_joined

__all__ = ["MAX_BYTES", "Scanner"]

_NOTHING_ELSE = AnalysisContext()
_INPUTS: tuple[tuple[Source, ...], ...] = (("prompt",), ("prompt", "response"))
"""What parts an input may have; documents and tools are read like prompts."""
_VIEWS = "views"
"""Stands in `failed_engines` when a text hides more readings than the bounds or the time allow."""
_READING_SHARE = 0.75
"""Of the time, at most; the rest is for judging what was read."""
_ENCODER = "encoder"
"""Stands in `failed_engines` when a second look was due and was not taken."""


def _shipped_engines() -> Mapping[str, Engine]:
    conversation = Conversation()
    return MappingProxyType(dict(sorted({**load_engines(), conversation.id: conversation}.items())))


@dataclass(frozen=True, slots=True)
class Scanner:
    """
    Judges texts. Immutable: share one between threads and tasks.

    Args:
        engines: By id; by default the shipped ones.
        rules: By default the shipped ones.
        on_error: What an engine's failure means: `flag` the text (default) or `block` it.
        protected_texts: What a response must not repeat, such as the system prompt.
        canaries: Words planted in such texts that a response must not contain.
        budget_seconds: After so much time what is unread stays so, engines that work are stopped at their next finding
            or look at the clock, and those that were not asked count as failed.
        configuration: The settings of `sentinel.configure`, as `merged` makes them.
        depth: Whether the encoder takes a second look: at no text (`fast`), where one pays (`auto`; without the model
            extra that is nowhere), or at every text (`full`). A depth in the configuration goes before it.
        encoder: By default the installed one.
        spares: Whether a text that rules have already made unsafe is spared the second look of `auto`.

    Raises:
        ConfigError: An engine, a rule or the encoder can't be loaded, which names the file; or a setting means nothing
            here.
    """

    engines: Mapping[str, Engine] = field(default_factory=_shipped_engines)
    rules: RuleBook = field(default_factory=load_rules)
    on_error: OnError = "flag"
    protected_texts: tuple[str, ...] = field(default=(), repr=False)
    canaries: tuple[str, ...] = field(default=(), repr=False)
    budget_seconds: float = 2.0
    configuration: Configuration = field(default_factory=Configuration)
    depth: Depth = DEFAULT_DEPTH
    encoder: Encoder | None = field(default=None, repr=False)
    spares: bool = True
    version: str = field(init=False)
    """Of the rules, of every engine that has a version of its own, and of the encoder where there is one."""
    terms: Terms = field(init=False, repr=False)
    """On which findings are judged."""
    ignored: frozenset[str] = field(init=False, repr=False)
    """Categories of findings that don't count."""
    _by_layer: Sequence[Engine] = field(init=False, repr=False)
    _fast_version: str = field(init=False, repr=False)
    _silent: Mapping[tuple[Source, ...], frozenset[str]] = field(init=False, repr=False)
    """By the parts that an input has: the engines that find nothing there where none of their rules holds."""

    def __post_init__(self) -> None:
        added = added_engines(self.configuration, self.engines.values())
        engines = {**self.engines, **{engine.id: engine for engine in added}}
        if self.protected_texts or self.canaries:
            engines[Leak.id] = Leak(self.protected_texts, self.canaries)
        silent = {
            parts: frozenset(e.id for e in engines.values() if e.by_rules or not set(parts) & set(e.sources))
            for parts in _INPUTS
        }
        depth = self.configuration.depth or checked_depth(self.depth)
        encoder = encoder_for(depth, self.encoder)
        versions = [str(engine.version) for engine in engines.values() if hasattr(engine, "version")]
        fast_version = "+".join([self.rules.version, *versions])
        derived = {
            "engines": MappingProxyType(engines),
            "_by_layer": sorted(engines.values(), key=lambda engine: LAYERS.index(layer_of(engine.id))),
            "_silent": silent,
            "depth": depth,
            "version": _with_encoder(fast_version, encoder),
            "_fast_version": fast_version,
            "terms": terms_of(self.configuration, self.on_error),
            "ignored": ignored(self.configuration, (rule.category for rule in self.rules.rules)),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def scan(
        self,
        prompt: str,
        response: str | None = None,
        *,
        engines: Iterable[str] | None = None,
        context: AnalysisContext | None = None,
        depth: Depth | None = None,
        ahead: Ahead = NOTHING,
    ) -> ScanResult:
        """
        Return the verdict on a prompt, the response to it and what surrounds them.

        Args:
            prompt: At most 2 MiB of UTF-8; may be empty, then that of the context is judged.
            response: Likewise; by default that of the context.
            engines: The ids of the engines to ask; by default all.
            context: The conversation so far, retrieved documents, calls of tools.
            depth: By default that of the scanner.
            ahead: What `look_ahead` has found out about several texts; without it a scan costs more.

        Raises:
            TypeError: A text is no `str`.
            InputTooLong: A text is longer than 2 MiB.
            ConfigError: An engine or the depth is unknown, no engine is named, or the depth is `full` without an
                encoder; or the encoder can't be loaded.
        """
        encoder = self._encoder_for(depth)
        if encoder is not None and not encoder.is_loaded:
            # Loading is no part of the scan and of its time; and most texts need no second look.
            engines = engines if engines is None or isinstance(engines, str) else list(engines)
            result = self.glance(prompt, response, engines=engines, context=context, depth=depth, ahead=ahead)
            if result is not None:
                return result
            encoder.load()
        return self._scanned(prompt, response, engines, context, depth, ahead=ahead)[0]

    def glance(
        self,
        prompt: str,
        response: str | None = None,
        *,
        engines: Iterable[str] | None = None,
        context: AnalysisContext | None = None,
        depth: Depth | None = None,
        ahead: Ahead = NOTHING,
    ) -> ScanResult | None:
        """
        Return what `scan` would if the encoder needn't be run for it, else None: for those who must not wait.

        Raises:
            TypeError: As `scan`.
            InputTooLong: As `scan`.
            ConfigError: As `scan`.
        """
        result, is_due = self._scanned(prompt, response, engines, context, depth, ahead=ahead, postponed=True)
        return None if is_due else result

    def look_ahead(self, texts: Iterable[str]) -> Ahead:
        """
        Return what makes scans of these texts cheaper, each of which still is a scan of its own.

        Args:
            texts: Prompts and responses, some dozens at best; long ones gain nothing.
        """
        classifiers = (engine for engine in self._by_layer if isinstance(engine, Classifier))
        classifier = next(classifiers, None)
        return looked_ahead(texts, self.rules, None if classifier is None else classifier.model)

    def _scanned(
        self,
        prompt: str,
        response: str | None,
        engines: Iterable[str] | None,
        context: AnalysisContext | None,
        depth: Depth | None,
        *,
        ahead: Ahead,
        postponed: bool = False,
    ) -> tuple[ScanResult, bool]:
        """Return the verdict, and whether a second look was postponed."""
        started = perf_counter() - ahead.seconds
        context = context or _NOTHING_ELSE
        prompt = context.prompt if prompt == "" else prompt
        response = context.response if response is None else response
        time = self._time(started)
        look = None
        if (encoder := self._encoder_for(depth)) is not None:
            everywhere = (depth or self.depth) == "full"
            look = SecondLook(encoder, everywhere=everywhere, to_judge=time.to_judge, postponed=postponed)
        scan = _Scan(self, self._chosen(engines), prompt, response, context=context, time=time, look=look, ahead=ahead)
        verdict, layers = scan.judged()
        findings = tuple([_named(finding) for result in scan.results for finding in result.findings])
        answer = ScanResult(
            risk_score=verdict.risk_score,
            is_safe=verdict.is_safe,
            threat_type=verdict.threat_type,
            action=verdict.action,
            is_blocked=verdict.is_blocked,
            block_reason=verdict.block_reason,
            triggered_engines=list(dict.fromkeys([finding.engine for finding in findings])),
            findings=findings,
            matched_patterns=tuple(dict.fromkeys(_patterns(findings))) if findings else (),
            triggered_layers=layers,
            failed_engines=scan.failed,
            version=_with_encoder(self._fast_version, encoder),
            latency_ms=(perf_counter() - started) * 1000,
        )
        answer.__dict__["engine_seconds"] = ((_VIEWS, scan.reading_ended - started), *scan.seconds)
        return answer, look is not None and look.is_due

    def _encoder_for(self, depth: Depth | None) -> Encoder | None:
        return encoder_for(self.depth if depth is None else checked_depth(depth), self.encoder)

    def _time(self, started: float) -> Time:
        read_until, judge_until = started + _READING_SHARE * self.budget_seconds, started + self.budget_seconds
        return Time(lambda: perf_counter() <= read_until, lambda: perf_counter() <= judge_until)

    def _chosen(self, ids: Iterable[str] | None) -> Sequence[Engine]:
        if ids is None:
            return self._by_layer
        wanted = [ids] if isinstance(ids, str) else list(ids)
        if unknown := [engine for engine in wanted if engine not in self.engines]:
            raise ConfigError(f"unknown engine {unknown[0]!r}; there are: {', '.join(self.engines)}", where="engines")
        if not wanted:
            raise ConfigError("no engine is named, so nothing would be judged; leave it out for all", where="engines")
        return [engine for engine in self._by_layer if engine.id in wanted]


class _Scan:
    """One scan in the making: the parts of the input, and what the engines have said so far."""

    def __init__(
        self,
        scanner: Scanner,
        engines: Sequence[Engine],
        prompt: str,
        response: str | None,
        *,
        context: AnalysisContext,
        time: Time,
        look: SecondLook | None,
        ahead: Ahead,
    ) -> None:
        self.results: list[EngineResult] = []
        """Of the engines that were asked, layer by layer."""
        self.seconds: list[tuple[str, float]] = []
        """What each engine took; 0 of those that needn't be asked."""
        self.failed: tuple[str, ...] = ()
        """What broke, ran out of time or was left unread; known once the engines were asked."""
        self._scanner = scanner
        self._engines = engines
        """Layer by layer."""
        self._prompt = prompt
        self._context = context
        self._time = time
        self._look = look
        self._has_response = response is not None
        self._parts = parts_of(prompt, response, context, scanner.rules, time=time, ahead=ahead)
        self._joined = [
            *documents_joined(context.retrieved_documents, scanner.rules),
            *turns_joined(context.history, prompt, scanner.rules),
        ]
        texts = [*(part.text for part in self._parts), *(together.text for together in self._joined)]
        self._complete = all(text.complete for text in texts)
        self._silent = self._not_to_ask({hit.rule.engine for text in texts for hit in text.hits})
        self.reading_ended = perf_counter()

    def _not_to_ask(self, held: Collection[str]) -> Collection[str]:
        """
        Return the engines that find nothing: they hear no part, or their rules hold nowhere, as most do in most texts.

        Where something was left unread nobody knows that; calls of tools and conversations are examined besides texts.

        Args:
            held: The engines of whose rules one holds.
        """
        if self._context.tool_calls or self._context.history or not self._complete:
            return ()
        silent = self._scanner._silent[_INPUTS[self._has_response]]  # noqa: SLF001 - the scanner's own other half
        return silent.difference(held) if held else silent

    def judged(self) -> tuple[Verdict, tuple[str, ...]]:
        """Ask the engines; return the verdict and the layers that triggered."""
        pipeline, on = self._scanner.configuration.pipeline, self._scanner.terms
        if pipeline is None:
            found, ruling = self._findings(self._engines), None
            layers = tuple(dict.fromkeys(layer_of(finding.engine) for finding in found))
        else:
            course = run(pipeline, self._layer_findings, lambda findings: risk(findings, on))
            found = [finding for result in self.results for finding in result.findings]
            layers, ruling = course.held, course.ruling
        unread = () if self._complete else (_VIEWS,)
        self.failed = (*unread, *(result.engine for result in self.results if result.failed))
        return judge(found, failed=bool(self.failed), terms=on, ruling=ruling), layers

    def _layer_findings(self, layer: str) -> list[Finding]:
        return self._findings([engine for engine in self._engines if layer_of(engine.id) == layer])

    def _findings(self, engines: Iterable[Engine]) -> list[Finding]:
        """Ask engines, one after the other: those for conversations look at what the others have said."""
        asked, silent, seconds, began = len(self.results), self._silent, self.seconds, perf_counter()
        for engine in engines:
            if (name := engine.id) in silent:
                seconds.append((name, 0.0))
                continue
            self.results.append(self._asked(engine))
            ended = perf_counter()
            taken = ended - began
            if self._look is not None and isinstance(engine, Classifier):
                taken -= self._look.seconds
                self.seconds.append((_ENCODER, self._look.seconds))
                if self._look.failed:
                    self.results.append(EngineResult(_ENCODER, failed=True))
            self.seconds.append((engine.id, taken))
            began = ended
        return [finding for result in self.results[asked:] for finding in result.findings]

    def _asked(self, engine: Engine) -> EngineResult:
        findings: list[Finding] = []
        try:
            for found in self._examined(engine):
                # One by one, so that what was found before an engine broke, or its time was up, counts.
                for finding in found:
                    findings.append(finding)
                    self._check_time()
        except Exception:  # noqa: BLE001 - an engine may break in any way; the result says so and is never silently safe
            return EngineResult(engine.id, self._concerning(findings), failed=True)
        return EngineResult(engine.id, self._concerning(findings))

    def _concerning(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        return tuple(finding for finding in findings if finding.category not in self._scanner.ignored)

    def _check_time(self) -> None:
        if not self._time.to_judge():
            raise TimeoutError

    def _examined(self, engine: Engine) -> Iterator[Iterable[Finding]]:
        look = self._look_of(engine)
        for part in self._parts:
            if _hears(engine, part):
                self._check_time()
                found = engine.examine(part.text) if look is None else look(part.text)
                yield found if part.place == part.text.source else _placed(found, part.place)
        if self._joined and "prompt" in engine.sources and layer_of(engine.id) == "patterns":
            for together in self._joined:
                yield _across(engine, together)
        if self._context.tool_calls and isinstance(engine, CallEngine):
            yield map(_in_named_place, engine.examine_calls(self._context.tool_calls))
        if self._context.history and self._prompt and isinstance(engine, TurnEngine):
            turns = (*self._context.history[-LOOK_BACK:], Turn("user", self._prompt))
            yield engine.examine_turns(turns, self._risks(turns))

    def _look_of(self, engine: Engine) -> Callable[[Text], Iterator[Finding]] | None:
        """Return how an engine looks twice; None where it doesn't: what rules have made unsafe stays so anyhow."""
        look = self._look
        if look is None or not isinstance(engine, Classifier):
            return None
        found = (finding for result in self.results for finding in result.findings)
        if not look.everywhere and self._scanner.spares and risk(found, self._scanner.terms) >= THRESHOLD:
            return None
        return lambda text: engine.examine_twice(text, look)

    def _risks(self, turns: Sequence[Turn]) -> list[float]:
        """Return the risk of each of the user's turns alone; earlier ones count, and are judged, only beside a risk."""
        on = self._scanner.terms
        present = risk((finding for result in self.results for finding in result.findings), on)
        if not present:
            return [0.0] * len(turns)
        earlier = [self._risk_alone(turn.text) if turn.role == "user" else 0.0 for turn in turns[:-1]]
        return [*earlier, present]

    def _risk_alone(self, text: str) -> float:
        self._check_time()
        part = Part("prompt", read("prompt", checked("history", text), self._scanner.rules, self._time))
        hearing = (engine for engine in self._engines if _hears(engine, part))
        return risk((finding for engine in hearing for finding in engine.examine(part.text)), self._scanner.terms)


def _hears(engine: Engine, part: Part) -> bool:
    """Whether an engine examines a part; arguments are for rules, and engines for calls have a way of their own."""
    if part.is_argument and (layer_of(engine.id) != "patterns" or isinstance(engine, CallEngine)):
        return False
    return part.text.source in engine.sources


def _with_encoder(version: str, encoder: Encoder | None) -> str:
    return version if encoder is None else f"{version}+{encoder.version}"


def _in_named_place(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, source=named_place(finding.source))


def _placed(findings: Iterable[Finding], place: str) -> Iterator[Finding]:
    for finding in findings:
        yield msgspec.structs.replace(finding, source=place)


def _across(engine: Engine, together: Joined) -> Iterator[Finding]:
    for finding in engine.examine(together.text):
        yield from together.placed(finding)


def _named(finding: Finding) -> Finding:
    """Return the finding with what its threat is called elsewhere."""
    names = TAXONOMY[finding.threat]
    return msgspec.structs.replace(finding, owasp=names.owasp, atlas=names.atlas)


def _patterns(findings: Collection[Finding]) -> Iterator[str]:
    """Yield what the patterns that hold are called: by category those of the user, by id those of the rules."""
    for finding in findings:
        if layer_of(finding.engine) == "patterns":
            yield finding.category if finding.engine == "custom" else finding.rule_id
