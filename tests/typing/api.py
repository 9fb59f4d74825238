"""User code that must type-check under mypy --strict; it is not run."""

from sentinel import Finding, Scanner, ScanResult, Severity, ascan, scan, scan_batch
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


SCANNER = Scanner(on_error="block")


async def app(scope: object, receive: object, send: object) -> None: ...


PROTECTED = SentinelMiddleware(app, url="http://127.0.0.1:8000", token_file="token", trusted_proxies=["10.0.0.1"])
