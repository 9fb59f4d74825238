"""One message to one channel, whatever the channel does."""

from __future__ import annotations

import asyncio

from sentinel.notify import Channel
from sentinel.observability import Log

__all__ = ["deliver"]

_SECONDS = 20.0


async def deliver(channel: Channel, title: str, message: str, log: Log) -> bool:
    """Return whether the channel took the message within 20 seconds; a failure is a line in the log."""
    try:
        await asyncio.wait_for(asyncio.to_thread(channel.send, title, message), _SECONDS)
    except Exception as err:  # noqa: BLE001 - a channel is somebody else's code; the next one must still be tried
        # No text of the error and no traceback: they may hold the channel's URL, and that its secrets.
        kind, error = type(channel).__name__, type(err).__name__
        log.error("a channel did not take an alert", channel=kind, error=error)  # noqa: TRY400
        return False
    return True
