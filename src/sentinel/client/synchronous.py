"""A client for programs without an event loop: a thread sends what they hand over."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import httpx

from sentinel.client.outbox import (
    BufferFull,
    Outbox,
    Refused,
    Taken,
    bearer,
    checked,
    encoded,
    failed,
    pause,
    read_answer,
    renew,
    report,
    verified,
)
from sentinel.errors import OutsideError
from sentinel.tls import Tls

__all__ = ["Client"]

_REQUEST_SECONDS = 30.0

_making = threading.Lock()
"""
Held while a thread imports modules and reads certificates. Their own locks would stay locked in a child that is forked
meanwhile, and its thread would wait for them for ever; so a fork waits for this one.
"""
if hasattr(os, "register_at_fork"):  # not on Windows, where nobody forks
    os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


class Client:
    """
    Sends events to a service in batches, in order, each until it is durable there.

    Policy on memory: at most `room` events wait. When there is no room, `send` blocks until there is; with
    `when_full="raise"` it raises `BufferFull` instead. No event is dropped: those that the service refuses are handed
    to `on_refused`, and `flush` and `close` raise when they leave some behind.

    Safe for threads; a forked child starts with an empty buffer, as its parent sends what was in there.
    """

    def __init__(
        self,
        url: str,
        token: str | Path,
        *,
        batch_events: int = 500,
        linger_seconds: float = 1.0,
        room: int = 10_000,
        when_full: Literal["block", "raise"] = "block",
        on_refused: Callable[[Sequence[Refused]], None] = report,
        tls: Tls | None = None,
    ) -> None:
        """
        Prepare; the thread starts with the first event.

        Args:
            url: Of the service.
            token: An ingest token, or the path of a file that holds it and is read anew each time.
            batch_events: A request is sent when so many wait, at most 10,000.
            linger_seconds: And when one has waited so long.
            room: Events that may wait, those under way included.
            when_full: What `send` does then.
            on_refused: Called, from the thread, with events that the service will never take; the default logs.
            tls: How the service is known, and the client to it; None = the authorities of the system, no certificate.

        Raises:
            ConfigError: Names the argument.
        """
        self._url = checked(url)
        self._token = token
        self._shape = {"batch_events": batch_events, "linger_seconds": linger_seconds, "room": room}
        self._when_full = when_full
        self._on_refused = on_refused
        self._tls = None if tls is None else tls.files()
        self._closed = False
        self._begin()
        atexit.register(self.close)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._outbox = Outbox(**self._shape)  # type: ignore[arg-type]  # as the constructor took them
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._urgent = 0
        self._trouble: str | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Events that are not yet known to be durable."""
        return len(self._outbox)

    @property
    def trouble(self) -> str | None:
        """Why the latest attempt failed; None when it went well."""
        return self._trouble

    def send(self, event: Mapping[str, Any]) -> None:
        """
        Hand over an event; returns once it is in the buffer.

        Raises:
            RejectedEvent: It is no JSON, or larger than 64 KiB.
            BufferFull: There is no room and the client was told to raise, or it is closed.
        """
        raw = encoded(event)
        if self._pid != os.getpid():
            self._begin()
        with self._changed:
            while self._outbox.full and not self._closed:
                if self._when_full == "raise":
                    raise BufferFull("the buffer is full; the service is slow or away")
                self._changed.wait()
            if self._closed:
                raise BufferFull("the client is closed")
            self._outbox.add(raw, time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sentinel-client", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float = 30.0) -> None:
        """
        Return once everything that was handed over before is durable, or was refused.

        Raises:
            OutsideError: Not within the time. The events stay, and are tried further.
        """
        with self._changed:
            self._urgent = wanted = self._outbox.added
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._outbox.done >= wanted, seconds):
                left = wanted - self._outbox.done
                raise OutsideError(f"{left} events are not sent: {self._trouble or 'no answer yet'}", retryable=True)

    def close(self, seconds: float = 30.0) -> None:
        """
        Send what waits and end; closing twice is harmless.

        Raises:
            OutsideError: Some events could not be sent within the time, and are lost with this process.
        """
        if self._closed:
            return
        if self._pid != os.getpid():
            self._begin()
        self._closed = True
        atexit.unregister(self.close)
        try:
            self.flush(seconds)
        finally:
            self._ending.set()
            with self._changed:
                self._changed.notify_all()
            if self._thread is not None:
                self._thread.join(1.0)

    # --- the thread

    def _run(self) -> None:
        failures = 0
        with _making:
            made = httpx.Client(timeout=_REQUEST_SECONDS, verify=verified(self._tls))
        with made as http:
            while batch := self._next():
                taken = self._deliver(http, batch)
                failures = 0 if taken.events else failures + 1
                if taken.refused:
                    self._on_refused(taken.refused)
                self._note(taken, len(batch))
                if failures:
                    self._ending.wait(pause(failures, taken.wait_seconds))

    def _next(self) -> list[bytes]:
        """Wait until a batch is due and return it; nothing once the client has ended."""
        with self._changed:
            while not self._ending.is_set():
                due = self._outbox.due_in(time.monotonic())
                urgent = self._urgent > self._outbox.done
                if due is not None and (due <= 0 or urgent):
                    return self._outbox.batch()
                self._changed.wait(due)
        return []

    def _deliver(self, http: httpx.Client, batch: list[bytes]) -> Taken:
        try:
            renew(self._tls)
            answer = http.post(self._url, content=b"\n".join(batch), headers=bearer(self._token))
        except (httpx.HTTPError, OSError) as err:
            return failed(err)
        return read_answer(answer, batch)

    def _note(self, taken: Taken, sent: int) -> None:
        with self._changed:
            self._trouble = taken.trouble
            self._outbox.finish(taken, sent, time.monotonic())
            self._changed.notify_all()
