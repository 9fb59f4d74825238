"""
Log lines: JSON, one a line, with `timestamp` (UTC, Z), `level` and `event` first.

Never a scanned text, never a token; people appear as pseudonyms (a keyed hash), so lines about one person can be
joined but not read.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import logging
import logging.handlers
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

__all__ = ["Log", "open_log", "pseudonym"]

Log = structlog.typing.FilteringBoundLogger


def open_log(path: Path, *, retention_days: int) -> tuple[Log, Callable[[], None]]:
    """
    Return a logger that appends JSON lines to a file, and what closes the file.

    Args:
        path: The file; its folder is made. It turns over at midnight UTC and the day before is compressed.
        retention_days: How many days are kept; older ones are deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.handlers.TimedRotatingFileHandler(
        path, when="midnight", utc=True, backupCount=retention_days, encoding="utf-8"
    )
    handler.namer = lambda name: f"{name}.gz"
    handler.rotator = _compress
    handler.setFormatter(logging.Formatter("%(message)s"))
    # Not in the tree of loggers: what an application configures there must not reach this file, nor this file there.
    target = logging.Logger(f"sentinel.{path.stem}")  # noqa: LOG001
    target.addHandler(handler)
    path.chmod(0o600)
    log: Log = structlog.wrap_logger(
        target,
        processors=[_first_keys, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    return log, handler.close


_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)


def _first_keys(logger: Any, level: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Put what people grep for at the start of the line."""
    first: dict[str, Any] = {"timestamp": None, "level": level, "event": fields.pop("event")}
    return {**_stamp(logger, level, first), **fields}


def _compress(source: str, destination: str) -> None:
    with open(source, "rb") as plain, gzip.open(destination, "wb") as packed:  # noqa: PTH123 - names from the handler
        shutil.copyfileobj(plain, packed)
    os.unlink(source)  # noqa: PTH108 - name from the handler


def pseudonym(key: bytes, name: str | None) -> str | None:
    """Return 16 hex digits that stand for a name; the same name gives the same digits under one key."""
    if name is None:
        return None
    return hmac.new(key, name.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:16]
