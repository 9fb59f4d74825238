"""A client for programs with an event loop: a task sends what they hand over."""

from __future__ import annotations

import asyncio
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

__all__ = ["AsyncClient"]

_REQUEST_SECONDS = 30.0


class AsyncClient:
    """
    Sends events to a service in batches, in order, each until it is durable there.

    The same policy as `Client`'s: at most `room` events wait, `send` waits or raises, and nothing is dropped. One
    client belongs to one event loop.
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
        """Prepare; the task starts with the first event. The arguments are those of `Client`."""
        self._url = checked(url)
        self._token = token
        self._when_full = when_full
        self._on_refused = on_refused
        self._tls = None if tls is None else tls.files()
        self._outbox = Outbox(batch_events=batch_events, linger_seconds=linger_seconds, room=room)
        self._changed = asyncio.Condition()
        self._closed = False
        self._urgent = 0
        self._trouble: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """Events that are not yet known to be durable."""
        return len(self._outbox)

    @property
    def trouble(self) -> str | None:
        """Why the latest attempt failed; None when it went well."""
        return self._trouble

    async def send(self, event: Mapping[str, Any]) -> None:
        """
        Hand over an event; returns once it is in the buffer.

        Raises:
            RejectedEvent: It is no JSON, or larger than 64 KiB.
            BufferFull: There is no room and the client was told to raise, or it is closed.
        """
        raw = encoded(event)
        async with self._changed:
            if self._outbox.full and self._when_full == "raise":
                raise BufferFull("the buffer is full; the service is slow or away")
            await self._changed.wait_for(lambda: self._closed or not self._outbox.full)
            if self._closed:
                raise BufferFull("the client is closed")
            self._outbox.add(raw, time.monotonic())
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="sentinel-client")
            self._changed.notify_all()

    async def flush(self, seconds: float = 30.0) -> None:
        """
        Return once everything that was handed over before is durable, or was refused.

        Raises:
            OutsideError: Not within the time. The events stay, and are tried further.
        """
        wanted = self._outbox.added
        try:
            async with asyncio.timeout(seconds), self._changed:
                self._urgent = wanted
                self._changed.notify_all()
                await self._changed.wait_for(lambda: self._outbox.done >= wanted)
        except TimeoutError:
            left = wanted - self._outbox.done
            raise OutsideError(
                f"{left} events are not sent: {self._trouble or 'no answer yet'}", retryable=True
            ) from None

    async def close(self, seconds: float = 30.0) -> None:
        """
        Send what waits and end; closing twice is harmless.

        Raises:
            OutsideError: Some events could not be sent within the time, and are lost with this client.
        """
        self._closed = True
        try:
            await self.flush(seconds)
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
            async with self._changed:
                self._changed.notify_all()

    # --- the task

    async def _run(self) -> None:
        failures = 0
        async with httpx.AsyncClient(timeout=_REQUEST_SECONDS, verify=verified(self._tls)) as http:
            while True:
                batch = await self._next()
                taken = await self._deliver(http, batch)
                failures = 0 if taken.events else failures + 1
                if taken.refused:
                    self._on_refused(taken.refused)
                await self._note(taken, len(batch))
                if failures:
                    await asyncio.sleep(pause(failures, taken.wait_seconds))

    async def _next(self) -> list[bytes]:
        """Wait until a batch is due and return it."""
        async with self._changed:
            while True:
                due = self._outbox.due_in(time.monotonic())
                urgent = self._urgent > self._outbox.done
                if due is not None and (due <= 0 or urgent):
                    return self._outbox.batch()
                try:
                    async with asyncio.timeout(due):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    async def _deliver(self, http: httpx.AsyncClient, batch: list[bytes]) -> Taken:
        try:
            renew(self._tls)
            answer = await http.post(self._url, content=b"\n".join(batch), headers=bearer(self._token))
        except (httpx.HTTPError, OSError) as err:
            return failed(err)
        return read_answer(answer, batch)

    async def _note(self, taken: Taken, sent: int) -> None:
        async with self._changed:
            self._trouble = taken.trouble
            self._outbox.finish(taken, sent, time.monotonic())
            self._changed.notify_all()
