"""One message to one channel, whatever the channel does."""

from __future__ import annotations

import asyncio
from functools import partial

from sentinel.notify import Channel, OnceChannel
from sentinel.observability import Log

__all__ = ["deliver"]

_SECONDS = 20.0


async def deliver(channel: Channel, title: str, message: str, key: str, log: Log) -> bool:
    """
    Return whether the channel took the message within 20 seconds; a failure is a line in the log.

    A channel that took it may have failed to say so, and this process may end before it notes that it was told. Then
    the message comes again with the same `key`.
    """
    send = partial(channel.send_once, key=key) if isinstance(channel, OnceChannel) else channel.send
    try:
        await asyncio.wait_for(asyncio.to_thread(send, title, message), _SECONDS)
    except Exception as err:  # noqa: BLE001 - a channel is somebody else's code; the next one must still be tried
        # No text of the error and no traceback: they may hold the channel's URL, and that its secrets.
        kind, error = type(channel).__name__, type(err).__name__
        log.error("a channel did not take an alert", channel=kind, error=error)  # noqa: TRY400
        return False
    return True
