"""What each action may be aimed at, the one spelling of a target, and which targets are refused."""

from __future__ import annotations

import unicodedata

import msgspec

from sentinel.model import ActionType, Scope
from sentinel.response.guardrails import GuardRails, normalise, protected, spelling

__all__ = ["Target", "parse_target", "refusal"]

_LONGEST = 256

_SCOPES: dict[ActionType, tuple[Scope, ...]] = {
    ActionType.IP_BLOCK: (Scope.IP,),
    ActionType.USER_SUSPEND: (Scope.USER,),
    ActionType.ACCOUNT_LOCKOUT: (Scope.USER,),
    ActionType.RATE_LIMIT: (Scope.IP, Scope.USER, Scope.ENDPOINT),
    ActionType.SERVICE_ISOLATION: (Scope.SERVICE,),
    ActionType.THREAT_QUARANTINE: (Scope.SESSION, Scope.DOCUMENT, Scope.TOOL),
    ActionType.ALERT_ESCALATION: (Scope.INCIDENT,),
}
_OWN_SERVICES = "sentinel."


class Target(msgspec.Struct, frozen=True):
    """Whom or what an action is aimed at."""

    scope: Scope
    name: str
    """Canonical: RFC 5952 for addresses, NFC for names."""

    def spelled(self, action_type: ActionType) -> str:
        """Return the text that stands for it everywhere: with its scope where the action has several."""
        return self.name if len(_SCOPES[action_type]) == 1 else f"{self.scope.value}:{self.name}"


def parse_target(action_type: ActionType, text: str) -> Target:
    """
    Return what a text aims at.

    A rate limit on a bare address is one on `ip:` of it.

    Raises:
        ValueError: No target of this action; the message says how to write one and does not repeat the text.
    """
    scopes = _SCOPES[action_type]
    if len(scopes) == 1:
        return Target(scopes[0], _name(scopes[0], text))
    prefix, _, rest = text.partition(":")
    for scope in scopes:
        if prefix == scope.value:
            return Target(scope, _name(scope, rest))
    if Scope.IP in scopes:
        return Target(Scope.IP, _name(Scope.IP, text))
    raise ValueError(f"without its kind; write {' or '.join(f'{scope.value}:NAME' for scope in scopes)}")


def _name(scope: Scope, text: str) -> str:
    if scope is Scope.IP:
        return spelling(normalise(text))
    if not 0 < len(text) <= _LONGEST or not text.isprintable():
        raise ValueError(f"no name of a {scope.value}: that has 1 to {_LONGEST} printable characters")
    return unicodedata.normalize("NFC", text)


def refusal(target: Target, rails: GuardRails) -> str | None:
    """Return why nothing may be done to this target, or None when it may."""
    if target.scope is Scope.IP:
        return protected(normalise(target.name), rails)
    if target.scope is Scope.USER and target.name in rails.protected_users:
        return "the user is protected"
    if target.scope is Scope.SERVICE and target.name.startswith(_OWN_SERVICES):
        return "it is a part of Sentinel itself"
    return None
