"""Log lines and metrics about scans, for an application that scans by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

from prometheus_client import CollectorRegistry

from sentinel.datafolder import own_secret
from sentinel.model import ScanResult
from sentinel.observability import ScanLog, ScanMetrics, open_scan_log

__all__ = ["ScanLogger", "instrument", "scan_logger"]


def instrument(registry: CollectorRegistry | None = None) -> ScanMetrics:
    """
    Return metrics of scans, registered now.

    `metrics.watch(scan)` is a `scan` that counts by itself; `metrics.count(result)` counts one.

    Args:
        registry: Where to; by default a new one, `metrics.registry`, that holds nothing else.

    Raises:
        ValueError: The registry has metrics of these names already.
    """
    return ScanMetrics(CollectorRegistry() if registry is None else registry)


class ScanLogger:
    """One JSON line a scan in a file. Made by `scan_logger`; close it at the end, or use it as a context."""

    def __init__(self, log: ScanLog, close: Callable[[], None]) -> None:
        self._log = log
        self.close = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(
        self, result: ScanResult, *, text: str, user_id: str | None = None, session_id: str | None = None
    ) -> None:
        """
        Write the line of one scan.

        Args:
            result: What the scan said.
            text: What was scanned; only its length is written.
            user_id: Whose text it was.
            session_id: In which session.
        """
        self._log.record(result, input_length=len(text), user_id=user_id, session_id=session_id)


def scan_logger(
    path: str | Path, *, retention_days: int = 30, key: bytes | None = None, mask: bool = True
) -> ScanLogger:
    """
    Return a logger that writes one JSON line a scan, never the text.

    The file turns over at midnight UTC; several processes may write to one path.

    Args:
        path: The file; its folder is made.
        retention_days: How many days are kept; older ones are deleted.
        key: Under which users and sessions become pseudonyms; by default random bytes kept beside the file, as
            `<file>.key`, so that lines about one person join over restarts.
        mask: False writes users and sessions as they are.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = (key or own_secret(file.with_name(f"{file.name}.key"))) if mask else None
    return ScanLogger(*open_scan_log(file, retention_days=retention_days, key=secret))
