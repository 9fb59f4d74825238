"""Who asks and obeys: the ASGI middleware and its local copy of the blocks."""

from sentinel.enforcement.asgi import Caller, SentinelMiddleware
from sentinel.enforcement.snapshot import Block, Snapshot
from sentinel.tls import Tls

__all__ = ["Block", "Caller", "SentinelMiddleware", "Snapshot", "Tls"]
