"""What people say about verdicts: that one was wrong is counted, once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from sentinel.errors import ConfigError
from sentinel.observability import ScanMetrics

__all__ = ["FalsePositives"]


class FalsePositives:
    """
    Counts verdicts that people called wrong, in `sentinel_false_positives_total`. Threads may share one.

    A person may press a button twice, and two people may report the same scan: a scan counts once. Of ids only hashes
    are kept.

    Args:
        metrics: Where they are counted.
        remembered: So many reported scans are told apart; the one reported longest ago is forgotten first.

    Raises:
        ConfigError: `remembered` is less than 1.
    """

    def __init__(self, metrics: ScanMetrics, *, remembered: int = 100_000) -> None:
        if remembered < 1:
            raise ConfigError("must be at least 1", where="remembered")
        self._metrics = metrics
        self._remembered = remembered
        self._mutex = threading.Lock()
        self._reported: OrderedDict[bytes, None] = OrderedDict()

    def report(self, scan_id: str) -> bool:
        """
        Count that a scan called a text unsafe that was safe.

        Args:
            scan_id: What the application calls the scan: the id of its event, of the request, ...

        Returns:
            Whether it was new; a scan that was reported before changes nothing.
        """
        key = hashlib.blake2b(scan_id.encode("utf-8", "replace"), digest_size=16).digest()
        with self._mutex:
            known = key in self._reported
            self._reported[key] = None
            self._reported.move_to_end(key)
            if len(self._reported) > self._remembered:
                self._reported.popitem(last=False)
        if not known:
            self._metrics.count_false_positive()
        return not known
