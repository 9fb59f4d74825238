"""
The one Scanner behind `sentinel.scan`: built at the first use, immutable, and swapped whole by `configure`.

Whoever scans reads one reference; a scan that has begun ends under the configuration under which it began.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Literal, ParamSpec, TypeVar, Unpack, overload

from sentinel.errors import ConfigError, ThreatDetected
from sentinel.model import Depth, ScanResult
from sentinel.scanning.configure import Changes, Configuration, merged
from sentinel.scanning.context import AnalysisContext
from sentinel.scanning.scanner import Scanner
from sentinel.scanning.stream import StreamFilter
from sentinel.scanning.text import AT_ONCE, NOTHING, WORTH_IT

__all__ = ["StreamGuard", "ascan", "configure", "default_scanner", "guard", "scan", "scan_batch"]

_INLINE_CHARS = 10_000
"""A scan of so many characters takes about a millisecond. For shorter texts a thread's hand-over and the wait for its
turn cost more than the scan; longer ones would hold up everything else on the event loop."""

_log = logging.getLogger("sentinel.guard")

Call = ParamSpec("Call")
Result = TypeVar("Result")
OnThreat = Literal["raise", "log", "block"]


class _Shared:
    """The reference that `configure` swaps."""

    def __init__(self) -> None:
        self.changing = threading.Lock()
        self.scanner: Scanner | None = None


_shared = _Shared()


@functools.cache
def _shipped() -> Scanner:
    """Return the scanner as it comes; those with other settings share its engines and compiled rules."""
    return Scanner()


def default_scanner() -> Scanner:
    """Return the Scanner that `scan`, `ascan`, `scan_batch`, `guard` and `StreamGuard` use."""
    if (scanner := _shared.scanner) is not None:
        return scanner
    with _shared.changing:
        if _shared.scanner is None:
            _shared.scanner = _shipped()
        return _shared.scanner


def configure(*, reset: bool = False, **changes: Unpack[Changes]) -> None:
    """
    Change how `scan` and all that rests on it judge, from the next scan on.

    Settings that are not named stay as they are; `custom_patterns` merge by category, `thresholds` by threat. None puts
    a setting back to its default.

    Args:
        reset: Start over from the defaults before the changes.
        custom_patterns: Regular expressions (RE2, ignoring case) by category.
        pattern_action: What a custom pattern that holds leads to: `block` (default), `flag` or `log`.
        mode: `strict` (unsafe from 0.3 on, personal data in prompts too) or `lenient` (from 0.7 on).
        thresholds: By threat, from 0 to 1; lower is more sensitive. One for `pii` makes personal data in prompts count.
        domain: `financial` or `healthcare`: adds the rules of the trade.
        blocked_intents: Intents that are refused, named by their words: `wire_transfer`.
        required_confirmations: Likewise, intents that are flagged for a person to confirm.
        pii_types: The only kinds of personal data that count, such as `email` or `credit_card`.
        hipaa_mode: Whether personal and health data in a prompt make it unsafe.
        phi_types: The only kinds of health data that count.
        pipeline: Which layer judges when, and what that leads to.
        depth: `fast`, `auto` or `full`: at which texts the encoder takes a second look.

    Raises:
        ConfigError: A setting or a value does not exist; names the key. Nothing has changed then.
    """
    with _shared.changing:
        shipped = _shipped()
        present = Configuration() if reset or _shared.scanner is None else _shared.scanner.configuration
        configuration = merged(present, changes)
        _shared.scanner = Scanner(shipped.engines, shipped.rules, configuration=configuration)


def scan(
    prompt: str,
    response: str | None = None,
    *,
    engines: Iterable[str] | None = None,
    context: AnalysisContext | None = None,
    depth: Depth | None = None,
) -> ScanResult:
    """
    Return the verdict on a prompt, the response to it and what surrounds them.

    Args:
        prompt: At most 2 MiB of UTF-8; may be empty, then that of the context is judged.
        response: Likewise; by default that of the context.
        engines: The ids of the engines to ask; by default all.
        context: The conversation so far, retrieved documents, calls of tools.
        depth: `fast`, `auto` or `full`, at which texts the encoder takes a second look; by default as configured.

    Raises:
        TypeError: A text is no `str`.
        InputTooLong: A text is longer than 2 MiB.
        ConfigError: An engine or the depth is unknown, no engine is named, or the depth is `full` without an encoder.
    """
    return default_scanner().scan(prompt, response, engines=engines, context=context, depth=depth)


async def ascan(
    prompt: str,
    response: str | None = None,
    *,
    engines: Iterable[str] | None = None,
    context: AnalysisContext | None = None,
    depth: Depth | None = None,
) -> ScanResult:
    """Return what `scan` returns, without holding up the event loop for long texts and second looks."""
    scanner, wanted = default_scanner(), None if engines is None else _listed(engines)
    texts = [text for text in (prompt, response) if isinstance(text, str)]
    if context is None and sum(map(len, texts)) <= _INLINE_CHARS:
        result = scanner.glance(prompt, response, engines=wanted, depth=depth)
        if result is not None:
            return result
    from asyncio import to_thread  # noqa: PLC0415 - whoever waits has it loaded; all others need not

    return await to_thread(scanner.scan, prompt, response, engines=wanted, context=context, depth=depth)


def scan_batch(
    prompts: Iterable[str], *, engines: Iterable[str] | None = None, depth: Depth | None = None
) -> list[ScanResult]:
    """
    Return the verdicts on prompts, in their order.

    Raises:
        TypeError: `prompts` is a single `str`, or holds something else than `str`.
        InputTooLong: One of them is longer than 2 MiB; then there is no verdict on the others either.
        ConfigError: As `scan`.
    """
    if isinstance(prompts, str):
        raise TypeError("prompts must be several texts, not one str; use scan() for one")
    wanted = None if engines is None else _listed(engines)
    scanner = default_scanner()
    results: list[ScanResult] = []
    waiting = iter(prompts)
    while some := list(islice(waiting, AT_ONCE)):
        ahead = scanner.look_ahead(some) if wanted is None and len(some) >= WORTH_IT else NOTHING
        results += (scanner.scan(prompt, engines=wanted, depth=depth, ahead=ahead) for prompt in some)
    return results


def _listed(engines: Iterable[str]) -> list[str]:
    """Return engines so that they may be named to several scans."""
    return [engines] if isinstance(engines, str) else list(engines)


class StreamGuard(StreamFilter):
    """
    Holds a model's output back until it is checked. One for each response.

        for piece in StreamGuard().over(model_output):
            print(piece, end="")

    `aover` does the same for an asynchronous stream; `feed` and `finish` are for those who have no iterator.

    Args:
        engines: The ids of the engines to ask; by default all.
        hold_chars: The longest stretch of which no part leaves before the whole of it was checked.
        step_chars: How much may come between two checks; fewer checks cost less and delay more.

    Raises:
        ConfigError: An engine is unknown, or a number is not positive.
    """

    def __init__(self, *, engines: Iterable[str] | None = None, hold_chars: int = 400, step_chars: int = 100) -> None:
        wanted = None if engines is None else list(engines)
        scanner = default_scanner()
        scanner.scan("", engines=wanted)  # refuses unknown engines before the first piece
        super().__init__(
            lambda text: scanner.scan("", text, engines=wanted), hold_chars=hold_chars, step_chars=step_chars
        )


@overload
def guard(function: Callable[Call, Result], /) -> Callable[Call, Result]: ...
@overload
def guard(
    *, engines: Iterable[str] | None = None, on_threat: OnThreat = "raise"
) -> Callable[[Callable[Call, Result]], Callable[Call, Result]]: ...
def guard(
    function: Callable[..., Any] | None = None,
    /,
    *,
    engines: Iterable[str] | None = None,
    on_threat: OnThreat = "raise",
) -> Callable[..., Any]:
    """
    Check what goes into a function and what comes out: its first argument that is a `str`, and the `str` it returns.

    Works on functions, coroutine functions and methods, as `@guard` or `@guard(...)`. What is no `str` is not checked.

    Args:
        function: What `@guard` stands above.
        engines: The ids of the engines to ask; by default all.
        on_threat: `raise`: raise `ThreatDetected`, before the call or instead of the answer. `block`: return None
            instead. `log`: write a warning, without the text, to the logger `sentinel.guard`, and go on.

    Raises:
        ConfigError: `on_threat` is none of the three, or (at the first call) an engine is unknown.
        TypeError: The function is a generator, whose output a `StreamGuard` must check.
    """
    if on_threat not in {"raise", "log", "block"}:
        raise ConfigError("there are raise, log, block", where="on_threat")
    wanted = None if engines is None else list(engines)
    watch = functools.partial(_guarded, engines=wanted, on_threat=on_threat)
    return watch if function is None else watch(function)


def _guarded(function: Callable[..., Any], *, engines: list[str] | None, on_threat: OnThreat) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("a generator can't be guarded; let its output go through sentinel.StreamGuard")

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        text = _first_text(args, kwargs)
        if text is not None and _is_withheld(scan(text, engines=engines), on_threat, "input"):
            return None
        answer = function(*args, **kwargs)
        if isinstance(answer, str) and _is_withheld(scan("", answer, engines=engines), on_threat, "output"):
            return None
        return answer

    @functools.wraps(function)
    async def aguarded(*args: Any, **kwargs: Any) -> Any:
        text = _first_text(args, kwargs)
        if text is not None and _is_withheld(await ascan(text, engines=engines), on_threat, "input"):
            return None
        answer = await function(*args, **kwargs)
        if isinstance(answer, str) and _is_withheld(await ascan("", answer, engines=engines), on_threat, "output"):
            return None
        return answer

    return aguarded if inspect.iscoroutinefunction(function) else guarded


def _first_text(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, str)), None)


def _is_withheld(result: ScanResult, on_threat: OnThreat, side: str) -> bool:
    """Do what a threat asks for, and return whether None takes the place of the answer."""
    if result.is_blocked and on_threat == "raise":
        raise ThreatDetected(result)
    if result.is_blocked and on_threat == "log":
        _log.warning("unsafe %s: %s, risk %.2f", side, result.threat_type, result.risk_score)
    return result.is_blocked and on_threat == "block"
