"""gzip bodies, within bounds."""

import gzip

import pytest

from sentinel.errors import RejectedEvent
from sentinel.ingest.unpack import BodyTooLarge, decompress

TEXT = b'{"event_type": "scan"}\n' * 4
PACKED = gzip.compress(TEXT, mtime=0)


def test_a_packed_body_is_unpacked() -> None:
    """What the sender packed is what is read."""
    assert decompress(PACKED) == TEXT
    assert decompress(gzip.compress(b"", mtime=0)) == b""


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "cut off"),
        (b"plain", "not valid"),
        (PACKED[:-1], "cut off"),
        (PACKED[:-8] + b"\0" * 8, "not valid"),
        (PACKED + PACKED, "goes on"),
        (PACKED + b"\0", "goes on"),
    ],
)
def test_a_broken_body_is_refused(raw: bytes, reason: str) -> None:
    """A body that is not one whole gzip stream is the sender's fault."""
    with pytest.raises(RejectedEvent, match=reason) as caught:
        decompress(raw)
    assert not isinstance(caught.value, BodyTooLarge)


def test_the_limit_is_exact() -> None:
    """Content of exactly the limit passes, one byte more does not."""
    assert decompress(PACKED, limit=len(TEXT)) == TEXT
    with pytest.raises(BodyTooLarge):
        decompress(PACKED, limit=len(TEXT) - 1)


def test_a_bomb_is_not_unpacked() -> None:
    """Content more than a hundred times larger than the body is refused, though it is below the limit."""
    bomb = gzip.compress(b"\0" * 1_000_000, mtime=0)
    with pytest.raises(BodyTooLarge):
        decompress(bomb)
    assert len(decompress(bomb, ratio=2_000)) == 1_000_000
