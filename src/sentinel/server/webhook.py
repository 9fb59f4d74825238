"""
POST /alerts/webhook: alerts of other systems, by an ingest token or by a signature.

A signature is `X-Sentinel-Signature: sha256=` and the HMAC of `TIMESTAMP.BODY`, with `X-Sentinel-Timestamp` in seconds
since 1970; it holds for five minutes, once.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from datetime import UTC, datetime

from sentinel.app import Monitor
from sentinel.errors import ConfigError, RejectedEvent
from sentinel.ingest.alerts import alert_events, ended
from sentinel.ingest.events import Parsed
from sentinel.model import Severity
from sentinel.server.bodies import new_id, read_body, sent_events
from sentinel.server.problems import Problem, Receive, Scope, Send, json_bytes, respond
from sentinel.storage.contract import row_id
from sentinel.stream import Source

__all__ = ["Webhook"]

_HOLDS_SECONDS = 300
_REMEMBERED = 10_000
_MAX_BODY = 1024 * 1024
_SHORTEST_SECRET = 16


class Webhook:
    """The route, by method and path: `Webhook(monitor).routes`."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._used: OrderedDict[str, float] = OrderedDict()
        """Signatures and when they were used, oldest first."""
        self.routes = {("POST", "/api/v1/security/alerts/webhook"): self.alerts}

    async def alerts(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take alerts: 200 once they are durable, with how many there were and how many were known."""
        body = await read_body(scope, receive)
        if len(body) > _MAX_BODY:
            raise Problem("too_large", f"a webhook holds at most {_MAX_BODY} bytes")
        source = self._source(scope, body)
        now = datetime.fromtimestamp(self._monitor.clock() / 1_000_000, UTC)
        try:
            events = alert_events(body, now, new_id)
        except RejectedEvent as err:
            raise Problem("invalid", str(err)) from None
        receipt = await sent_events(self._monitor, Parsed(list(enumerate(events, 1)), []), source)
        # A request that fails here is sent again: its events are known by then, and this is done all the same.
        if over := ended(events):
            await self._monitor.people.resolve_claims([row_id(event_id) for event_id in over], by=source.origin)
        answer = {"status": "received", "processed_alerts": len(events), "duplicates": receipt.duplicates}
        await respond(send, 200, json_bytes(answer))

    def _source(self, scope: Scope, body: bytes) -> Source:
        """Return who sends; whoever it is, an alert is a claim and may cause nothing."""
        token = scope["sentinel.token"]
        if token is None:
            self._check_signature(scope, body)
        return Source(
            origin="webhook" if token is None else token.id,
            max_severity=Severity.HIGH if token is None else token.max_severity,
            may_act=False,
            lateness=None,
        )

    def _check_signature(self, scope: Scope, body: bytes) -> None:
        headers = dict(scope["headers"])
        stamp, signature = headers.get(b"x-sentinel-timestamp", b""), headers.get(b"x-sentinel-signature", b"")
        wanted = b"sha256=" + hmac.new(self._secret(), stamp + b"." + body, hashlib.sha256).hexdigest().encode()
        now = self._monitor.clock() / 1_000_000
        fits = hmac.compare_digest(signature, wanted) and stamp.isdigit() and len(stamp) <= 12  # noqa: PLR2004 - seconds
        if not fits or abs(now - int(stamp)) > _HOLDS_SECONDS:
            raise Problem("no_token", "the signature does not fit, or its time is more than five minutes off")
        self._forget(now)
        if wanted.decode() in self._used:
            raise Problem("no_token", "this signature was used before; sign each request anew")
        if len(self._used) >= _REMEMBERED:
            raise Problem("overloaded", "too many signed webhooks within five minutes", headers={"Retry-After": "60"})
        self._used[wanted.decode()] = now

    def _forget(self, now: float) -> None:
        """Drop signatures whose timestamps no longer hold, whichever side of now they were on."""
        while self._used and now - next(iter(self._used.values())) > 2 * _HOLDS_SECONDS:
            self._used.popitem(last=False)

    def _secret(self) -> bytes:
        """Read each time, so that a new secret holds at once."""
        path = self._monitor.settings.webhook_secret_file
        if path is None:
            raise Problem(
                "no_token", "signatures are not set up here: set webhook_secret_file, or send an ingest token"
            )
        try:
            secret = path.read_bytes().strip()
        except OSError as err:
            raise ConfigError(f"can't be read: {err.strerror}", where="webhook_secret_file") from err
        if len(secret) < _SHORTEST_SECRET:
            raise ConfigError(f"holds fewer than {_SHORTEST_SECRET} bytes", where="webhook_secret_file")
        return secret
