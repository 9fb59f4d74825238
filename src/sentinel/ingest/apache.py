"""Apache's access log, in the format `combined`, `common` or `vhost_combined`."""

from __future__ import annotations

from sentinel.ingest.accesslog import AccessLogReader

__all__ = ["Reader"]


class Reader(AccessLogReader):
    """Reads one source of Apache access log lines."""

    def __init__(self) -> None:
        super().__init__("apache", {"apache", "apache2", "httpd"})
