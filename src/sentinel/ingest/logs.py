"""A log as somebody describes it: of which kind it is, and what its lines leave unsaid."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from sentinel.ingest import apache, jsonlog, nginx, sshd
from sentinel.ingest.lines import LineReader

__all__ = ["Log", "LogFormat"]


class LogFormat(StrEnum):
    """The logs that can be read."""

    SSHD = "sshd"
    NGINX = "nginx"
    APACHE = "apache"
    JSON = "json"


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """How the lines of a log are to be read."""

    format: LogFormat
    now: datetime
    """Aware; what "future" means where a year must be guessed."""
    tz: str = "UTC"
    """Zone of times that name none."""
    year: int | None = None
    """Of the first line, where the log has none; None: it is found out."""
    logsource: dict[str, str] = {}
    """What foreign JSON is, for the rules."""
    time_field: str = "timestamp"
    """Where foreign JSON has its time."""

    def reader(self) -> LineReader:
        """Return what turns the lines into events, before the first of them."""
        match self.format:
            case LogFormat.SSHD:
                return sshd.Reader(tz=ZoneInfo(self.tz), year=self.year, now=self.now)
            case LogFormat.NGINX:
                return nginx.Reader()
            case LogFormat.APACHE:
                return apache.Reader()
            case LogFormat.JSON:
                return jsonlog.Reader(logsource=self.logsource, time_field=self.time_field, tz=ZoneInfo(self.tz))
