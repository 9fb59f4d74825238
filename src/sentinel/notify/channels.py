"""Where alerts go. A channel is anything with `send(title, message)` that raises when it could not deliver."""

from __future__ import annotations

import sys
from typing import Protocol, runtime_checkable

import httpx

from sentinel.errors import ConfigError, OutsideError

__all__ = ["AppriseChannel", "Channel", "ConsoleChannel", "OnceChannel", "WebhookChannel"]

_WEBHOOK_SECONDS = 15.0


class Channel(Protocol):
    """A way to people."""

    def send(self, title: str, message: str) -> None:
        """Deliver a message, or raise."""


@runtime_checkable
class OnceChannel(Protocol):
    """A channel whose receiver can know a message again that it got before, and drop it."""

    def send_once(self, title: str, message: str, key: str) -> None:
        """Deliver a message, or raise; `key` is the same whenever it is the same message."""


class ConsoleChannel:
    """Writes alerts to standard error."""

    def send(self, title: str, message: str) -> None:
        """Write title and message."""
        sys.stderr.write(f"ALERT: {title}\n   {message}\n")
        sys.stderr.flush()


class WebhookChannel:
    """
    Posts `{"title": ..., "message": ...}` to a URL; needs nothing that the scanner alone does not bring.

    By the header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) the receiver can know a message again.

    Redirects are not followed: where an alert goes is what the file says.

    Args:
        url: http:// or https://; it may hold a secret and appears in no message of ours.

    Raises:
        ConfigError: It is no such URL.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("https://", "http://")):
            raise ConfigError("a webhook's URL begins with https:// or http://", where="WebhookChannel")
        self._url = url

    def send(self, title: str, message: str) -> None:
        """
        Post the message.

        Raises:
            OutsideError: It was not taken.
        """
        self._post(title, message, {})

    def send_once(self, title: str, message: str, key: str) -> None:
        """
        Post the message with its key, a structured string as the draft wants it.

        Raises:
            OutsideError: It was not taken, or nobody knows.
        """
        self._post(title, message, {"Idempotency-Key": f'"{key}"'})

    def _post(self, title: str, message: str, headers: dict[str, str]) -> None:
        body = {"title": title, "message": message}
        try:
            answer = httpx.post(self._url, json=body, headers=headers, timeout=_WEBHOOK_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL):
            raise OutsideError("the webhook can't be reached", retryable=True) from None
        if not answer.is_success:
            raise OutsideError(f"the webhook answered {answer.status_code}", retryable=True)


class AppriseChannel:
    """
    Sends through one of the services that apprise knows, named by a URL.

    Slack is `slack://tokenA/tokenB/tokenC/#channel`, PagerDuty `pagerduty://integration_key@api_key`, e-mail
    `mailtos://user:password@host?to=team@example.com`, a webhook `json://host/path` or `jsons://host/path`. Redirects
    are not followed.

    Args:
        url: What apprise takes; it holds secrets and appears in no message of ours.

    Raises:
        ConfigError: apprise is not installed (the extra `alerts` brings it), or it can't read the URL.
    """

    def __init__(self, url: str) -> None:
        try:
            import apprise  # noqa: PLC0415 - the alerts extra
        except ModuleNotFoundError:
            raise ConfigError("this channel needs the alerts extra: in a checkout, pip install '.[alerts]'") from None
        asset = apprise.AppriseAsset()
        asset.http_redirects = False  # a URL that moved, or was taken over, must not lead to a place inside
        self._service = apprise.Apprise(asset=asset)
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
