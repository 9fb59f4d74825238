"""The one Scanner behind `sentinel.scan`: built at the first use, by one thread, and immutable from then on."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterable

from sentinel.model import ScanResult
from sentinel.scanning.scanner import Scanner

__all__ = ["ascan", "default_scanner", "scan", "scan_batch"]

_INLINE_CHARS = 10_000
"""A scan of so many characters takes about a millisecond. For shorter texts a thread's hand-over and the wait for its
turn cost more than the scan; longer ones would hold up everything else on the event loop."""

_building = threading.Lock()


@functools.cache
def _built() -> Scanner:
    return Scanner()


def default_scanner() -> Scanner:
    """Return the Scanner that `scan`, `ascan` and `scan_batch` use."""
    # `functools.cache` alone lets two threads build at once.
    with _building:
        return _built()


def scan(prompt: str, response: str | None = None, *, engines: Iterable[str] | None = None) -> ScanResult:
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
    return default_scanner().scan(prompt, response, engines=engines)


async def ascan(prompt: str, response: str | None = None, *, engines: Iterable[str] | None = None) -> ScanResult:
    """Return what `scan` returns, without holding up the event loop for long texts."""
    texts = [text for text in (prompt, response) if isinstance(text, str)]
    if sum(map(len, texts)) <= _INLINE_CHARS:
        return scan(prompt, response, engines=engines)
    return await asyncio.to_thread(scan, prompt, response, engines=engines)


def scan_batch(prompts: Iterable[str], *, engines: Iterable[str] | None = None) -> list[ScanResult]:
    """
    Return the verdicts on prompts, in their order.

    Raises:
        TypeError: `prompts` is a single `str`, or holds something else than `str`.
        InputTooLong: One of them is longer than 2 MiB; then there is no verdict on the others either.
        ConfigError: An engine is unknown, or none is named.
    """
    if isinstance(prompts, str):
        raise TypeError("prompts must be several texts, not one str; use scan() for one")
    wanted = None if engines is None else list(engines)
    return [scan(prompt, engines=wanted) for prompt in prompts]
