"""
Log lines: JSON, one a line, with `timestamp` (UTC, Z), `level` and `event` first.

Never a scanned text, never a token; people appear as pseudonyms (a keyed hash), so lines about one person can be
joined but not read.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hmac
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from sentinel.model import ScanResult, ScanThreat

__all__ = ["DailyFile", "Log", "ScanLog", "open_log", "open_scan_log", "pseudonym"]

Log = structlog.typing.FilteringBoundLogger
_CLOSED = -1
_NAMES = 4096
"""Pseudonyms kept at hand."""


class DailyFile:
    """
    A file of lines that turns over at midnight UTC. Threads may share one, and processes may share its path.

    The day that is over keeps its date as a suffix. It is packed one day later, when no process can still hold it open
    for a last line, and deleted after the retention.

    Args:
        path: The file; its folder is made. Only its owner can read it.
        retention_days: How many days are kept.
        clock: Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        path: Path,
        *,
        retention_days: int,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - when a day ends is this file's own business
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._retention = timedelta(days=retention_days)
        self._clock = clock
        self._mutex = threading.Lock()
        self._lost = 0
        self._descriptor = _appending(path)
        state = os.fstat(self._descriptor)
        self._begin(_day(state.st_mtime if state.st_size else clock()))

    def write(self, *lines: bytes) -> None:
        """Append lines. Those that find no room are lost; the next that do are preceded by the number of those."""
        with self._mutex:
            try:
                now = self._clock()
                if now >= self._ends:  # a comparison of numbers, as a date costs more than the line
                    self._turn_over(_day(now))
                os.write(self._descriptor, self._told_losses() + b"\n".join((*lines, b"")))
            except OSError:  # a full disk must not stop who only wants to tell something
                self._lost += len(lines)
            else:
                self._lost = 0

    def close(self) -> None:
        """Let go of the file; lines that still come are lost."""
        with self._mutex:
            if self._descriptor != _CLOSED:
                os.close(self._descriptor)
                self._descriptor = _CLOSED

    def _told_losses(self) -> bytes:
        # The break before it ends a line that was written in part.
        return b'\n{"level":"error","event":"log lines lost","lost":%d}\n' % self._lost if self._lost else b""

    def _turn_over(self, today: date) -> None:
        with _only_one(self._path.parent):
            if os.fstat(self._descriptor).st_ino == self._path.stat().st_ino:  # else another process has done it
                self._path.rename(self._path.with_name(f"{self._path.name}.{self._day}"))
                self._tidy(today)
            fresh = _appending(self._path)
        os.close(self._descriptor)
        self._descriptor = fresh
        self._begin(today)

    def _begin(self, day: date) -> None:
        self._day = day
        self._ends = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC).timestamp()

    def _tidy(self, today: date) -> None:
        dated = re.compile(re.escape(self._path.name) + r"\.(\d{4}-\d\d-\d\d)(\.gz)?")
        for old in list(self._path.parent.iterdir()):
            if not (match := dated.fullmatch(old.name)):
                continue
            day = date.fromisoformat(match[1])
            if day < today - self._retention:
                old.unlink()
            elif day < self._day and not match[2]:
                _pack(old)


def _day(seconds: float) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()


def _appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep other processes that turn over in this folder waiting."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _pack(path: Path) -> None:
    packed = path.with_name(f"{path.name}.gz")
    with path.open("rb") as plain, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(plain, target)
    packed.chmod(0o600)
    path.unlink()


class _Levels:
    """What structlog hands rendered lines to: a method for each level, all alike."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = write


def open_log(path: Path, *, retention_days: int) -> tuple[Log, Callable[[], None]]:
    """
    Return a logger that appends JSON lines to a file, and what closes the file.

    Args:
        path: The file; its folder is made. It turns over at midnight UTC and is packed a day later.
        retention_days: How many days are kept; older ones are deleted.
    """
    file = DailyFile(path, retention_days=retention_days)
    log: Log = structlog.wrap_logger(
        _Levels(file.write),
        processors=[_first_keys, _rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    return log, file.close


_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
_encode = msgspec.json.Encoder(enc_hook=str).encode


def _first_keys(logger: Any, level: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Put what people grep for at the start of the line."""
    first: dict[str, Any] = {"timestamp": None, "level": level, "event": fields.pop("event")}
    return {**_stamp(logger, level, first), **fields}


def _rendered(_logger: Any, _level: str, fields: structlog.typing.EventDict) -> bytes:
    try:
        return _encode(fields)
    except UnicodeEncodeError:  # a lone surrogate, as in the name of a file: escaped it is JSON all the same
        return json.dumps(fields, default=str).encode()


class _ScanLine(msgspec.Struct):
    """The line of one scan, in the order in which its fields are written."""

    timestamp: str
    level: str
    event: str
    user_id: str | None
    session_id: str | None
    input_length: int
    risk_score: float
    is_safe: bool
    threat_type: ScanThreat | None
    engines_triggered: list[str]
    latency_ms: float


_encode_scan = msgspec.json.Encoder().encode


class ScanLog:
    """
    Writes one line a scan: `security_threat_detected` (warning) or `scan_completed` (info), never the text.

    A line is made as a whole: through a logger's chain of processors it would cost five times as much.

    Args:
        write: Takes lines.
        key: Under which users and sessions become pseudonyms; None writes them as they are.
    """

    def __init__(self, write: Callable[..., None], key: bytes | None) -> None:
        self.write = write
        """Writes what `line` has returned, one or several at once."""
        # The same people come again and again, and hashing is a third of what a line costs.
        self._named = lru_cache(_NAMES)(_as_it_is if key is None else partial(pseudonym, key))

    def record(
        self, result: ScanResult, *, input_length: int, user_id: str | None = None, session_id: str | None = None
    ) -> None:
        """Write the line of one scan: see `line`."""
        self.write(self.line(result, input_length=input_length, user_id=user_id, session_id=session_id))

    def line(
        self, result: ScanResult, *, input_length: int, user_id: str | None = None, session_id: str | None = None
    ) -> bytes:
        """
        Return the line of one scan.

        Args:
            result: What the scan said.
            input_length: Of the prompt, in characters.
            user_id: Whose text it was; appears as a pseudonym.
            session_id: Likewise.
        """
        line = _ScanLine(
            datetime.now(UTC).isoformat().replace("+00:00", "Z"),  # noqa: TID251 - when a line was written is its own
            "info" if result.is_safe else "warning",
            "scan_completed" if result.is_safe else "security_threat_detected",
            self._named(user_id),
            self._named(session_id),
            input_length,
            result.risk_score,
            result.is_safe,
            result.threat_type,
            result.triggered_engines,
            result.latency_ms,
        )
        try:
            return _encode_scan(line)
        except UnicodeEncodeError:  # a lone surrogate in a name that is written as it is; escaped it is JSON
            return json.dumps(msgspec.structs.asdict(line)).encode()


def open_scan_log(path: Path, *, retention_days: int, key: bytes | None) -> tuple[ScanLog, Callable[[], None]]:
    """
    Return what writes one line a scan to a file, and what closes the file; see `open_log` and `ScanLog`.

    Args:
        path: The file; its folder is made.
        retention_days: How many days are kept.
        key: For pseudonyms.
    """
    file = DailyFile(path, retention_days=retention_days)
    return ScanLog(file.write, key), file.close


def _as_it_is(name: str | None) -> str | None:
    return name


def pseudonym(key: bytes, name: str | None) -> str | None:
    """Return 16 hex digits that stand for a name; the same name gives the same digits under one key."""
    if name is None:
        return None
    return hmac.digest(key, name.encode("utf-8", "replace"), "sha256").hex()[:16]
