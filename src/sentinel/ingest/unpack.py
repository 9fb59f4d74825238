"""Compressed bodies are unpacked within bounds, so that a small one can't fill the memory."""

from __future__ import annotations

import zlib

from sentinel.errors import RejectedEvent

__all__ = ["BodyTooLarge", "decompress"]

_GZIP = 16 + zlib.MAX_WBITS


class BodyTooLarge(RejectedEvent):
    """The body is larger than the limit, packed or unpacked; HTTP answers 413."""


def decompress(body: bytes, limit: int = 64 * 1024 * 1024, ratio: int = 100) -> bytes:
    """
    Return the content of a gzip body, never holding more than the bound in memory.

    Args:
        body: One gzip stream. Several in a row are refused: senders have no use for them, and thousands of tiny ones
            would cost time that no limit on bytes bounds.
        limit: Bytes that the content may have.
        ratio: How many times larger than the body the content may be.

    Raises:
        BodyTooLarge: The content has more than `limit` bytes, or more than `ratio` times the body's.
        RejectedEvent: The body is not gzip, is cut off, fails its checksum, or goes on after the stream.
    """
    bound = min(limit, ratio * len(body))
    stream = zlib.decompressobj(_GZIP)
    try:
        content = stream.decompress(body, bound + 1)
    except zlib.error:
        raise RejectedEvent("the body is not valid gzip") from None
    if len(content) > bound:
        raise BodyTooLarge(f"the body may have {limit} bytes unpacked, and {ratio} times its packed size")
    if not stream.eof:
        raise RejectedEvent("the gzip body is cut off")
    if stream.unused_data:
        raise RejectedEvent("the body goes on after the end of its gzip stream")
    return content
