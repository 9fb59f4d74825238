"""nginx's access log, in the format `combined` or `common`."""

from __future__ import annotations

from sentinel.ingest.accesslog import AccessLogReader

__all__ = ["Reader"]


class Reader(AccessLogReader):
    """Reads one source of nginx access log lines."""

    def __init__(self) -> None:
        super().__init__("nginx", {"nginx"})
