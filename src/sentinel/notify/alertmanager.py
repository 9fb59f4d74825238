"""Alerts that go to Alertmanager by its API, version 2."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from sentinel.errors import OutsideError

__all__ = ["Alertmanager"]

_SECONDS = 5.0


class Alertmanager:
    """
    One Alertmanager, or several that share what they are told.

    Args:
        urls: Where each listens, such as http://127.0.0.1:9093.
        token_file: Of a bearer token; read each time, so that a new one holds at once.
        tls: How a server is checked, and who we say that we are; None = as the system does.
    """

    def __init__(self, urls: Sequence[str], token_file: Path | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._urls = [f"{url.rstrip('/')}/api/v2/alerts" for url in urls]
        self._token_file = token_file
        self._tls = tls

    async def send(self, alerts: Sequence[dict[str, Any]]) -> None:
        """
        Hand alerts to all of them.

        Raises:
            OutsideError: None took them. The message holds no URL and no text of theirs.
        """
        reasons = []
        async with httpx.AsyncClient(
            verify=self._tls or True, trust_env=False, timeout=_SECONDS, headers=self._headers()
        ) as client:
            for url in self._urls:
                try:
                    answer = await client.post(url, json=list(alerts))
                except httpx.HTTPError as err:
                    reasons.append(type(err).__name__)
                else:
                    if not answer.is_success:
                        reasons.append(f"HTTP {answer.status_code}")
        if len(reasons) == len(self._urls):
            raise OutsideError(f"no Alertmanager took the alerts: {', '.join(reasons)}", retryable=True)

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text(encoding='ascii').strip()}"}
        except (OSError, UnicodeDecodeError) as err:
            raise OutsideError("alertmanager_token_file can't be read", retryable=True) from err
