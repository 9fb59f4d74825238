"""Tell people when too many texts are unsafe: once when it begins, now and then while it lasts, and when it is over."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from sentinel.errors import ConfigError
from sentinel.model import ScanResult
from sentinel.notify import Channel, ConsoleChannel

__all__ = ["AlertManager"]

_DEFAULT_THRESHOLDS = {"threat_rate": 0.3}
_ENOUGH = 20
"""A share of fewer scans says nothing: one unsafe text among two is no attack."""
_log = logging.getLogger(__name__)


class AlertManager:
    """
    Watches the share of unsafe texts among the latest scans. Threads may share one.

    Channels are called in the thread that brought the result, outside the lock; from async code call
    `check_and_alert` through `asyncio.to_thread` when a channel goes over the network.

    Args:
        thresholds: `threat_rate`, in (0, 1): an alert begins above it, and is over at or below it.
        window_size: So many latest scans count.
        min_samples: Before so many scans there is no alert; by default 20, or the whole of a smaller window.
        cooldown: Seconds between two alerts, also when the rate fell in between.
        channels: Each gets every message; by default standard error.
        backup: Gets a message that a channel did not take.
        clock: Seconds that never go back.

    Raises:
        ConfigError: A threshold is unknown or out of range, or the numbers don't fit together.
    """

    def __init__(
        self,
        thresholds: Mapping[str, float] | None = None,
        window_size: int = 100,
        *,
        min_samples: int | None = None,
        cooldown: float = 300.0,
        channels: Iterable[Channel] | None = None,
        backup: Channel | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threat_rate = _threat_rate(_DEFAULT_THRESHOLDS if thresholds is None else thresholds)
        self._min_samples = min(_ENOUGH, window_size) if min_samples is None else min_samples
        if not 1 <= self._min_samples <= window_size:
            raise ConfigError("must be from 1 to window_size, else no alert could ever begin", where="min_samples")
        self._cooldown = cooldown
        self._channels = (ConsoleChannel(),) if channels is None else tuple(channels)
        self._backup = backup
        self._clock = clock
        self._lock = threading.Lock()
        self._unsafe: deque[bool] = deque(maxlen=window_size)
        self._count = 0
        self._alerting = False
        self._alerted_at: float | None = None

    def check_and_alert(self, result: ScanResult) -> bool:
        """
        Take one more result into the window, and send what follows from it.

        Returns:
            Whether an alert was sent; the message that it is over is none.
        """
        with self._lock:
            message = self._message(unsafe=not result.is_safe)
            alerting = self._alerting
        if message is not None:
            self.send_alert(*message)
        return message is not None and alerting

    def _message(self, *, unsafe: bool) -> tuple[str, str] | None:
        """Return what to tell after one more scan, if anything."""
        if len(self._unsafe) == self._unsafe.maxlen:
            self._count -= self._unsafe[0]
        self._unsafe.append(unsafe)
        self._count += unsafe
        scans = len(self._unsafe)
        if scans < self._min_samples:
            return None
        told = f"Threat rate: {self._count / scans:.1%} in the last {scans} scans, the threshold is {{:.1%}}"
        message = told.format(self._threat_rate)
        if self._count / scans > self._threat_rate:
            if not self._due():
                return None
            self._alerting, self._alerted_at = True, self._clock()
            return "High Threat Rate", message
        if self._alerting:
            self._alerting = False
            return "Resolved: High Threat Rate", message
        return None

    def _due(self) -> bool:
        return self._alerted_at is None or self._clock() - self._alerted_at >= self._cooldown

    def send_alert(self, title: str, message: str) -> bool:
        """
        Send a message to every channel, and to the backup when one of them fails.

        A failing channel never stops the caller; it is logged, without the message.

        Returns:
            Whether anybody took it.
        """
        taken = [self._sent(channel, title, message) for channel in self._channels]
        if not all(taken) and self._backup is not None:
            taken.append(self._sent(self._backup, title, message))
        return any(taken)

    @staticmethod
    def _sent(channel: Channel, title: str, message: str) -> bool:
        try:
            channel.send(title, message)
        except Exception as err:  # noqa: BLE001 - a channel may fail in any way, and the scan goes on
            # Only the kind of error: its text may hold the address of the service, and with it a secret.
            _log.warning("%s did not take an alert: %s", type(channel).__name__, type(err).__name__)
            return False
        return True


def _threat_rate(thresholds: Mapping[str, float]) -> float:
    if unknown := set(thresholds) - set(_DEFAULT_THRESHOLDS):
        raise ConfigError(f"unknown threshold {min(unknown)!r}; there is threat_rate", where="thresholds")
    rate = (_DEFAULT_THRESHOLDS | dict(thresholds))["threat_rate"]
    if not 0 < rate < 1:
        raise ConfigError("must lie between 0 and 1, both excluded", where="thresholds: threat_rate")
    return rate
