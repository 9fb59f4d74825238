"""Events as an organisation under attack has them, made from a seed."""

from __future__ import annotations

import random
import time
from typing import Any

from sentinel.model import iso

__all__ = ["Traffic"]

_CAMPAIGN = 120  # events of one attacker before the next one comes
_SPREAD_SECONDS = 300


class Traffic:
    """
    People who work, and attackers who come one after the other, in no order of time.

    Each attacker guesses passwords within a minute or two, so that new signals and blocks arise all along. Nobody signs
    in from an attacker's address. No event is late or lies ahead.
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._name = f"made-{seed}"
        self._made = 0

    def batch(self, size: int) -> list[dict[str, Any]]:
        """Return the next events."""
        return [self._event() for _ in range(size)]

    def _event(self) -> dict[str, Any]:
        attacker, step = divmod(self._made, _CAMPAIGN)
        if step == 0:
            self._when = self._dice.uniform(120, _SPREAD_SECONDS)
        self._made += 1
        fields = self._guess(attacker) if self._dice.random() < 0.6 else self._work()
        return {"event_id": f"{self._name}-{self._made}", "severity": "low", **fields}

    def _guess(self, attacker: int) -> dict[str, Any]:
        number = attacker % 250 + 1
        address = f"203.0.113.{number}" if attacker % 3 else f"2001:db8:{number:x}::{self._dice.randrange(1, 0xFFFF):x}"
        return {
            "event_type": "authentication",
            "timestamp": _ago(self._when - self._dice.uniform(0, 100)),
            "user_id": f"person-{self._dice.randrange(40)}",
            "ip_address": address,
            "details": {"success": False, "method": "password"},
        }

    def _work(self) -> dict[str, Any]:
        person = self._dice.randrange(40)
        who = {"user_id": f"person-{person}", "timestamp": _ago(self._dice.uniform(0, _SPREAD_SECONDS))}
        if self._dice.random() < 0.5:
            read = {"table_name": "invoices", "rows": self._dice.randrange(200)}
            return {"event_type": "data_access", "service_name": "api", "details": read, **who}
        # Some mistype; forty people at forty addresses are too few and too slow to look like an attack, mostly.
        signed_in = {"success": self._dice.random() < 0.95, "method": "password"}
        return {"event_type": "authentication", "ip_address": f"198.51.100.{person + 1}", "details": signed_in, **who}


def _ago(seconds: float) -> str:
    return iso(time.time_ns() // 1000 - round(seconds * 1_000_000))
