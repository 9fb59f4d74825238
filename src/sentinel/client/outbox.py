"""What both clients share: the bounded buffer of events that wait, and what an answer of the service means."""

from __future__ import annotations

import logging
import random
import secrets
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from sentinel.errors import ConfigError, RejectedEvent, SentinelError
from sentinel.model import iso
from sentinel.tls import TlsFiles

__all__ = [
    "BufferFull",
    "Outbox",
    "Refused",
    "Taken",
    "bearer",
    "checked",
    "encoded",
    "failed",
    "pause",
    "read_answer",
    "renew",
    "report",
    "verified",
]

_EVENTS_PATH: Final = "/api/v1/security/events"
_MAX_EVENT_BYTES = 64 * 1024
_MAX_BATCH_EVENTS = 10_000
_MAX_BATCH_BYTES = 4 * 1024 * 1024  # the service takes 10 MiB
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
_LONGEST_WISH_SECONDS = 300.0

_log = logging.getLogger("sentinel.client")


class BufferFull(SentinelError):
    """The buffer has no room and the client was told to raise, or is closed: the event was not taken."""


class Refused(msgspec.Struct, frozen=True):
    """An event that the service will never take."""

    event: bytes
    """As it was sent: JSON."""
    reason: str


class Taken(msgspec.Struct, frozen=True):
    """What became of a batch."""

    events: int
    """How many of its first events are done with: durable, or refused."""
    refused: tuple[Refused, ...] = ()
    wait_seconds: float | None = None
    """What the service wished, when nothing is done with yet."""
    trouble: str | None = None
    """Why nothing is done with yet."""
    too_large: bool = False


class _Rejected(msgspec.Struct):
    line: int
    field: str | None = None
    reason: str = ""


class _Receipt(msgspec.Struct):
    rejected: list[_Rejected] = []


_receipt = msgspec.json.Decoder(_Receipt)


class Outbox:
    """
    Events in order, until the service has them. Not safe for threads by itself.

    What is under way stays in it, so `len` is all that could be lost, and never exceeds `room`.
    """

    def __init__(self, *, batch_events: int, linger_seconds: float, room: int) -> None:
        """
        Start empty.

        Args:
            batch_events: As many make a batch, 1 to 10,000.
            linger_seconds: After this long fewer do.
            room: Events that may wait; at least a batch.
        """
        if not 1 <= batch_events <= _MAX_BATCH_EVENTS:
            raise ConfigError(f"takes 1 to {_MAX_BATCH_EVENTS}", where="batch_events")
        if room < batch_events:
            raise ConfigError("must be at least batch_events", where="room")
        self._batch_events = batch_events
        self._linger = linger_seconds
        self._room = room
        self._limit = batch_events
        self._waiting: deque[bytes] = deque()
        self._since = 0.0
        self.added = 0
        self.done = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether `add` would exceed the room."""
        return len(self._waiting) >= self._room

    def add(self, event: bytes, now: float) -> None:
        """Append an event at a time of a steady clock, in seconds."""
        if not self._waiting:
            self._since = now
        self._waiting.append(event)
        self.added += 1

    def due_in(self, now: float) -> float | None:
        """Return in how many seconds a batch is due, 0 or less for now; None while nothing waits."""
        if not self._waiting:
            return None
        return 0.0 if len(self._waiting) >= self._batch_events else self._since + self._linger - now

    def batch(self) -> list[bytes]:
        """Return the first events, as many as one request may hold; they stay until `finish`."""
        size = 0
        batch: list[bytes] = []
        for event in islice(self._waiting, self._limit):
            size += len(event) + 1
            if batch and size > _MAX_BATCH_BYTES:
                break
            batch.append(event)
        return batch

    def finish(self, taken: Taken, sent: int, now: float) -> None:
        """Drop the events that are done with, of `sent`; what the service found too large is sent in halves."""
        for _ in range(taken.events):
            self._waiting.popleft()
        self.done += taken.events
        if taken.events:
            self._since = now
            self._limit = self._batch_events
        elif taken.too_large:
            self._limit = max(1, sent // 2)


def encoded(event: Mapping[str, Any]) -> bytes:
    """
    Return an event as it is sent, with an id and a time if it has none.

    Raises:
        RejectedEvent: It is no JSON, or larger than the service takes.
    """
    now = time.time_ns() // 1000
    # Ids in order of time cost the service's index half of what ids at random places do.
    made = {"event_id": f"evt-{now:014x}-{secrets.token_hex(9)}", "timestamp": iso(now)}
    try:
        raw = msgspec.json.encode(made | dict(event))
    except (TypeError, ValueError) as err:
        raise RejectedEvent(f"an event must be JSON ({type(err).__name__})") from None
    if len(raw) > _MAX_EVENT_BYTES:
        raise RejectedEvent(f"an event may have {_MAX_EVENT_BYTES} bytes at most")
    return raw


def read_answer(answer: httpx.Response, batch: Sequence[bytes]) -> Taken:
    """
    Return what the service's answer means for the batch that was sent.

    202 and 422 answer for each event. 413 for a single event refuses it. Everything else leaves the batch to be sent
    again: 429 and 503 because the service asks for it, 401 and 403 because a token can be replaced, the rest because
    something between here and there is not as it should be. What is sent twice is taken once.
    """
    if answer.status_code in {httpx.codes.ACCEPTED, httpx.codes.UNPROCESSABLE_ENTITY}:
        try:
            rejected = _receipt.decode(answer.content).rejected
        except msgspec.MsgspecError:
            return Taken(0, trouble="the service's answer can't be read")
        reasons = {row.line: f"{row.field}: {row.reason}" if row.field else row.reason for row in rejected}
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:  # then none was taken, also none that isn't listed
            reasons = dict.fromkeys(range(1, len(batch) + 1), "the service refused the whole batch") | reasons
        return Taken(len(batch), tuple(Refused(event, reasons[n]) for n, event in enumerate(batch, 1) if n in reasons))
    too_large = answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    if too_large and len(batch) == 1:
        return Taken(1, (Refused(batch[0], "the service finds it too large"),))
    trouble = f"the service answered {answer.status_code}"
    return Taken(0, wait_seconds=_wish(answer), trouble=trouble, too_large=too_large)


def _wish(answer: httpx.Response) -> float | None:
    """Seconds of a Retry-After header; dates are not used by this service."""
    wish = answer.headers.get("Retry-After", "")
    return min(float(wish), _LONGEST_WISH_SECONDS) if wish.isdecimal() else None


def pause(failures: int, wish: float | None, dice: Callable[[], float] = random.random) -> float:
    """
    Return for how many seconds to wait before the next attempt.

    It doubles with each failure in a row up to ten seconds, less up to a half by chance, so that many senders don't
    return in step; and it is never shorter than what the service wished.
    """
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10))
    return max(wish or 0.0, longest) * (1 + dice() / 2) if wish else longest * (1 - dice() / 2)


def checked(url: str) -> str:
    """Return the address of the events route below a service's address."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError("the service's address begins with http:// or https://", where="url")
    return url.rstrip("/") + _EVENTS_PATH


def bearer(token: str | Path) -> dict[str, str]:
    """Return the headers of a request; a token file is read anew each time, so that it can be replaced."""
    word = token.read_text(encoding="ascii").strip() if isinstance(token, Path) else token
    return {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {word}"}


def failed(error: Exception) -> Taken:
    """Return what an attempt that got no answer means; the library's own message may contain the address."""
    return Taken(0, trouble=f"{type(error).__name__} while sending to the service")


def report(refused: Sequence[Refused]) -> None:
    """Log that events were refused, without what they say: what a client does unless it is given something else."""
    for one in refused:
        _log.error("an event was refused by the service: %s", one.reason)


def verified(files: TlsFiles | None) -> ssl.SSLContext | bool:
    """Return what httpx takes as `verify`."""
    return True if files is None else files.context


def renew(files: TlsFiles | None) -> None:
    """Take certificates that have changed; those that can't be used are told, and the earlier ones stay."""
    if files is None:
        return
    try:
        files.look()
    except ConfigError as err:
        _log.error("%s; the earlier ones stay", err)
