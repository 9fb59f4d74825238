"""Output is let through only as far as it has been checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel import Scanner, StreamGuard
from sentinel.errors import ConfigError, ThreatDetected
from sentinel.model import ScanResult
from sentinel.scanning.stream import StreamFilter

SECRET = "The API key is: sk-abc123xyz789defghijklmnop"
FILLING = "The museum opens at nine and closes at five. " * 40


def pieces(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


def finding_bang(seen: list[str] | None = None) -> StreamFilter:
    """Return a filter that finds `<bang>` unsafe, and notes what it is shown."""

    def check(text: str) -> ScanResult:
        if seen is not None:
            seen.append(text)
        return SimpleNamespace(  # type: ignore[return-value]
            is_blocked="<bang>" in text, block_reason="bang", threat_type=None, risk_score=1.0
        )

    return StreamFilter(check, hold_chars=len("<bang>"), step_chars=4)


def received(stream: Iterable[str]) -> tuple[str, bool]:
    """Return what came out, and whether it was cut off."""
    out = ""
    try:
        for piece in stream:
            out += piece
    except ThreatDetected:
        return out, True
    return out, False


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_a_safe_response_comes_out_whole(size: int) -> None:
    """Whatever the size of the pieces, nothing is lost or doubled."""
    assert received(StreamGuard().over(pieces(FILLING, size))) == (FILLING, False)


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
@pytest.mark.parametrize("before", ["", FILLING])
@pytest.mark.parametrize("after", ["", "\n" + FILLING])
def test_nothing_of_a_secret_comes_out(size: int, before: str, after: str) -> None:
    """A key is found before its first character has left, at the start, in the middle and at the end."""
    out, cut = received(StreamGuard().over(pieces(before + SECRET + after, size)))
    assert cut
    assert before.startswith(out)


def test_an_asynchronous_response_is_checked_alike() -> None:
    """`aover` yields and raises what `over` does."""

    async def arriving(text: str) -> AsyncIterator[str]:
        for piece in pieces(text, 20):
            yield piece

    async def collected(text: str) -> list[str]:
        return [piece async for piece in StreamGuard().aover(arriving(text))]

    assert "".join(asyncio.run(collected(FILLING))) == FILLING
    with pytest.raises(ThreatDetected) as caught:
        asyncio.run(collected(FILLING + SECRET))
    assert caught.value.result.threat_type == "secret"
    assert "sk-abc" not in str(caught.value)


def test_output_arrives_before_the_end() -> None:
    """A guard delays a response by what it holds, not until it is complete."""
    guard = StreamGuard(hold_chars=100, step_chars=20)
    out = "".join(guard.feed(piece) for piece in pieces(FILLING, 10))
    assert len(FILLING) - len(out) < 200
    assert out + guard.finish() == FILLING


def test_after_a_threat_nothing_comes_out() -> None:
    """Who goes on feeding a refused response gets the same refusal."""
    guard = finding_bang()
    with pytest.raises(ThreatDetected):
        guard.feed("<bang> and so on")
    for again in (lambda: guard.feed("x"), guard.finish):
        with pytest.raises(ThreatDetected):
            again()


def test_what_is_kept_is_bounded() -> None:
    """A response without end, and without a space, takes no more memory or time than its window."""
    seen: list[str] = []
    guard = finding_bang(seen)
    for _ in range(1000):
        guard.feed("abcdefg")
    assert max(map(len, seen)) < 60


def test_half_a_word_is_not_judged() -> None:
    """What is cut off at its end may look like something else, so a check ends between words."""
    seen: list[str] = []
    guard = finding_bang(seen)
    for piece in ("one two", " three fo", "ur five s", "ix"):
        guard.feed(piece)
    assert all(not text.endswith(("fo", " s")) for text in seen)


@settings(max_examples=200, deadline=None)
@given(st.text(" ab\n", max_size=40), st.text(" ab\n", max_size=40), st.integers(1, 9))
def test_no_part_of_a_threat_within_the_window_ever_leaves(before: str, after: str, size: int) -> None:
    """Wherever it stands and however it is cut into pieces."""
    out, cut = received(finding_bang().over(pieces(f"{before}<bang>{after}", size)))
    assert cut
    assert before.startswith(out)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(" ab\n", max_size=12), max_size=20))
def test_any_safe_text_comes_out_as_it_went_in(parts: list[str]) -> None:
    """Empty pieces, white space and no white space at all."""
    assert received(finding_bang().over(parts)) == ("".join(parts), False)


@pytest.mark.parametrize("key", ["hold_chars", "step_chars"])
def test_a_window_of_nothing_is_refused(key: str) -> None:
    """The error names the number that is wrong."""
    with pytest.raises(ConfigError) as caught:
        StreamGuard(**{key: 0})
    assert caught.value.where == key


def test_an_unknown_engine_is_refused_before_the_first_piece() -> None:
    """Not in the middle of a response."""
    with pytest.raises(ConfigError, match="unknown engine"):
        StreamGuard(engines=["telepathy"])


def test_only_the_engines_asked_for_judge() -> None:
    """A stream may be checked for one thing alone."""
    assert received(StreamGuard(engines=iter(["pii"])).over([SECRET])) == (SECRET, False)


def test_an_engine_that_fails_blocks_if_it_is_told_to() -> None:
    """A response that could not be examined is not let through by a scanner that blocks on errors."""
    broken = SimpleNamespace(id="broken", sources=("response",), by_rules=False, examine=lambda _: 1 / 0)
    scanner = Scanner(engines={"broken": broken}, on_error="block")  # type: ignore[dict-item]
    assert received(StreamFilter(lambda text: scanner.scan("", text)).over(["Hello"])) == ("", True)
