"""The HTTP API of a monitor."""

from sentinel.server.application import create_app

__all__ = ["create_app"]
