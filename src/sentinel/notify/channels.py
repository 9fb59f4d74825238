"""Where alerts go. A channel is anything with `send(title, message)` that raises when it could not deliver."""

from __future__ import annotations

import sys
from typing import Protocol

from sentinel.errors import ConfigError, OutsideError

__all__ = ["AppriseChannel", "Channel", "ConsoleChannel"]


class Channel(Protocol):
    """A way to people."""

    def send(self, title: str, message: str) -> None:
        """Deliver a message, or raise."""


class ConsoleChannel:
    """Writes alerts to standard error."""

    def send(self, title: str, message: str) -> None:
        """Write title and message."""
        sys.stderr.write(f"ALERT: {title}\n   {message}\n")
        sys.stderr.flush()


class AppriseChannel:
    """
    Sends through one of the services that apprise knows, named by a URL.

    Slack is `slack://tokenA/tokenB/tokenC/#channel`, PagerDuty `pagerduty://integration_key@api_key`, e-mail
    `mailtos://user:password@host?to=team@example.com`, a webhook `json://host/path` or `jsons://host/path`.

    Args:
        url: What apprise takes; it holds secrets and appears in no message of ours.

    Raises:
        ConfigError: apprise is not installed (the extra `alerts` brings it), or it can't read the URL.
    """

    def __init__(self, url: str) -> None:
        try:
            import apprise  # noqa: PLC0415 - the alerts extra
        except ModuleNotFoundError:
            raise ConfigError("this channel needs the alerts extra: install sentinel-ai[alerts]") from None
        self._service = apprise.Apprise()
        if not self._service.add(url):
            raise ConfigError("apprise can't read this URL (see its wiki for the forms)", where="AppriseChannel")

    def send(self, title: str, message: str) -> None:
        """
        Hand the message to the service.

        Raises:
            OutsideError: It was not taken.
        """
        if not self._service.notify(title=title, body=message):
            raise OutsideError("the service did not take the message", retryable=True)
