"""User code that must type-check under mypy --strict; it is not run."""

from collections.abc import AsyncIterator, Iterator

from sentinel import (
    AnalysisContext,
    Finding,
    Pipeline,
    Rule,
    Scanner,
    ScanResult,
    Severity,
    StreamGuard,
    ThreatDetected,
    ToolCall,
    ascan,
    configure,
    guard,
    scan,
    scan_batch,
)
from sentinel.enforcement import SentinelMiddleware


def judge(text: str) -> bool:
    result: ScanResult = scan(text, "an answer", engines=["injection"])
    worst: list[Severity] = [finding.severity for finding in result.findings]
    spans: list[tuple[int, int]] = [finding.span for finding in result.findings]
    first: Finding | None = next(iter(result.findings), None)
    return result.is_safe and not worst and not spans and first is None


async def judge_many(texts: list[str]) -> list[float]:
    one = await ascan(texts[0])
    return [one.risk_score, *(result.risk_score for result in scan_batch(texts))]


SCANNER = Scanner(on_error="block", protected_texts=("You are the helper of the harbour office.",), budget_seconds=0.5)


def set_up() -> None:
    configure(
        reset=True,
        mode="strict",
        thresholds={"injection": 0.3},
        custom_patterns={"projects": ["phoenix"]},
        pattern_action="flag",
        domain="financial",
        pii_types=["email"],
        pipeline=Pipeline([Rule("patterns", action="flag", threshold=0.3), Rule("context", action="block")]),
    )


@guard
def reply(prompt: str, times: int = 1) -> str:
    return prompt * times


@guard(engines=["secret"], on_threat="block")
async def areply(prompt: str) -> str:
    return prompt


async def guarded() -> str | None:
    try:
        return reply("Hello", times=2) + await areply("Hello")
    except ThreatDetected as threat:
        result: ScanResult = threat.result
        return result.block_reason


def judge_all(history: list[tuple[str, str]], documents: list[str]) -> list[str]:
    call = ToolCall(name="read", arguments={"path": "a.txt"})
    context = AnalysisContext(history=history, retrieved_documents=documents, tool_calls=[call])
    return scan("Go on", context=context).triggered_engines


def streamed(pieces: Iterator[str]) -> str:
    return "".join(StreamGuard(hold_chars=200).over(pieces))


async def astreamed(pieces: AsyncIterator[str]) -> list[str]:
    return [piece async for piece in StreamGuard().aover(pieces)]


async def app(scope: object, receive: object, send: object) -> None: ...


PROTECTED = SentinelMiddleware(app, url="http://127.0.0.1:8000", token_file="token", trusted_proxies=["10.0.0.1"])
