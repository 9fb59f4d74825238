"""
The thread that keeps a snapshot up to date with the service.

It asks for the changes since the last known one and the service holds the answer back until there are some, two seconds
at most. So news arrives at once, and silence for longer than that means trouble, which `age_seconds` and `last_error`
show. Enforcement goes on from the snapshot meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from sentinel.enforcement.snapshot import Block, Snapshot
from sentinel.errors import ConfigError
from sentinel.model import ActionStatus, Micros, Severity, micros_of_iso
from sentinel.response import DEFAULT_LIMIT
from sentinel.tls import Tls

__all__ = ["Feed", "decode_changes", "now_micros"]

WAIT_SECONDS = 2
_READ_TIMEOUT_SECONDS = WAIT_SECONDS + 3
_LONGEST_PAUSE_SECONDS = 2.0
_IDLE_PAUSE_SECONDS = 0.1
_SAVE_EVERY_SECONDS = 1.0
_FORGET_EVERY_SECONDS = 60.0
# The clock may be wrong for a while, and what is forgotten is gone: keep expired blocks for a day.
_KEEP_EXPIRED: Micros = 86_400_000_000

Result = TypeVar("Result")

_log = logging.getLogger("sentinel.enforcement")


def now_micros() -> Micros:
    """Return the wall clock; block expiry is an absolute time."""
    return time.time_ns() // 1_000


class Feed:
    """Follows one service; start and stop may be called any number of times, also after a fork."""

    def __init__(
        self,
        snapshot: Snapshot,
        url: str,
        token: str | Path,
        *,
        node: str | None = None,
        snapshot_path: Path | None = None,
        tls: Tls | None = None,
    ) -> None:
        """`token` is the token, or the path of a file that holds it and is read anew each time."""
        self._snapshot = snapshot
        self._url = _checked(url)
        self._token = token
        self._node = node
        self._path = snapshot_path
        self._tls = None if tls is None else tls.files()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._heard = threading.Event()
        self._heard_at: float | None = None
        self._last_error: str | None = None

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the service last answered; None if it never did."""
        return None if self._heard_at is None else time.monotonic() - self._heard_at

    @property
    def last_error(self) -> str | None:
        """What went wrong in the latest attempt; None when it went well."""
        return self._last_error

    def start(self) -> None:
        """Start the thread unless it runs in this very process (a fork copies objects, not threads)."""
        if self._thread is None or not self._thread.is_alive():
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._stop,), name="sentinel-feed", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it: as long as one request may take."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_READ_TIMEOUT_SECONDS)

    def wait_until_heard(self, seconds: float) -> bool:
        """Wait for the first answer of the service, at most so long; return whether it came."""
        return self._heard.wait(seconds)

    def _run(self, stop: threading.Event) -> None:
        failures = 0
        chores = _Chores(self._snapshot, self._path)
        time_out = httpx.Timeout(WAIT_SECONDS, read=_READ_TIMEOUT_SECONDS)
        with httpx.Client(timeout=time_out, verify=True if self._tls is None else self._tls.context) as client:
            while not stop.is_set():
                news = self._tried(partial(self._once, client, chores))
                failures = failures + 1 if news is None else 0
                stop.wait(_pause_seconds(failures, news=bool(news)))
        self._tried(chores.save)

    def _tried(self, step: Callable[[], Result]) -> Result | None:
        """Run a step; what fails outside is noted and gives None, for the thread must go on."""
        try:
            return step()
        except (httpx.HTTPError, OSError, ValueError) as err:
            self._note(_told(err))
            return None

    def _once(self, client: httpx.Client, chores: _Chores) -> bool:
        """Ask once, do what is due, and return whether there was news."""
        news = self._follow(client)
        chores.run()
        self._note(None)
        return news

    def _follow(self, client: httpx.Client) -> bool:
        since = self._snapshot.seq or 0
        blocks, seq, complete = self._ask(client, since)
        if seq < since and not complete:
            # The service has started afresh, so its numbers mean other changes than ours.
            since = 0
            blocks, seq, complete = self._ask(client, since)
        self._snapshot.apply(blocks, seq, complete=complete or since == 0)
        self._heard_at = time.monotonic()
        self._heard.set()
        return seq != since

    def _ask(self, client: httpx.Client, since: int) -> tuple[tuple[Block, ...], int, bool]:
        if self._tls is not None:
            with contextlib.suppress(ConfigError):  # should the earlier certificate end meanwhile, that is told
                self._tls.look()
        answer = client.get(
            self._url,
            params={"since": since, "wait": WAIT_SECONDS, "node": self._node or _this_node()},
            headers={"Authorization": f"Bearer {self._bearer()}"},
        )
        answer.raise_for_status()
        return decode_changes(answer.content)

    def _bearer(self) -> str:
        return self._token.read_text(encoding="ascii").strip() if isinstance(self._token, Path) else self._token

    def _note(self, error: str | None) -> None:
        """Remember, and log only what is new."""
        if error != self._last_error:
            if error is None:
                _log.info("following the service again")
            else:
                _log.warning("not following the service: %s; enforcing from the snapshot", error)
        self._last_error = error


class _Chores:
    """What the thread does beside listening: it saves the snapshot and forgets old blocks, each now and then."""

    def __init__(self, snapshot: Snapshot, path: Path | None) -> None:
        self._snapshot = snapshot
        self._path = path
        self._saved_seq = snapshot.seq
        self._save_at = 0.0
        self._forget_at = 0.0

    def run(self) -> None:
        now = time.monotonic()
        if now >= self._save_at:
            self._save_at = now + _SAVE_EVERY_SECONDS
            self.save()
        if now >= self._forget_at:
            self._forget_at = now + _FORGET_EVERY_SECONDS
            self._snapshot.forget(now_micros() - _KEEP_EXPIRED)

    def save(self) -> None:
        seq = self._snapshot.seq
        if self._path is not None and seq != self._saved_seq:
            self._snapshot.save(self._path)
            self._saved_seq = seq


# --- the wire


class _Item(msgspec.Struct, frozen=True):
    """A block as the service writes it; fields that we do not need are ignored."""

    id: str
    seq: int
    action_type: str
    target: str
    reason: str
    severity: Severity
    status: ActionStatus
    expiration: str | None
    evidence: dict[str, Any] = {}


class _Reply(msgspec.Struct, frozen=True):
    seq: int
    complete: bool
    items: tuple[_Item, ...]


_REPLY = msgspec.json.Decoder(_Reply)


def decode_changes(raw: bytes) -> tuple[tuple[Block, ...], int, bool]:
    """Return an answer's blocks, the sequence that it brings a snapshot to, and whether it is all that is in force."""
    reply = _REPLY.decode(raw)
    return tuple(map(_block, reply.items)), reply.seq, reply.complete


def _block(item: _Item) -> Block:
    limit = item.evidence.get("limit")
    return Block(
        id=item.id,
        seq=item.seq,
        action_type=item.action_type,
        target=item.target,
        status=item.status,
        expires=None if item.expiration is None else micros_of_iso(item.expiration),
        reason=item.reason,
        severity=item.severity,
        limit=limit if isinstance(limit, int) and limit >= 1 else DEFAULT_LIMIT,
    )


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigError("the service's address begins with http:// or https://", where="url")
    return f"{url.rstrip('/')}/api/v1/security/decisions"


def _this_node() -> str:
    """Each process follows by itself, so each is a node of its own."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _told(error: Exception) -> str:
    """Say what went wrong without the address or the token, which the library's own message may contain."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"the service answered {error.response.status_code}"
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error.strerror}"
    return f"{type(error).__name__} while asking the service"


def _pause_seconds(failures: int, *, news: bool) -> float:
    """Return a pause that grows with the failures in a row, with jitter, so that many nodes do not return in step."""
    if failures:
        longest = min(_LONGEST_PAUSE_SECONDS, 0.1 * (1 << min(failures, 5)))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load and guards no secret
    # A service that does not hold its answer back must not be asked in a tight loop.
    return 0.0 if news else _IDLE_PAUSE_SECONDS
