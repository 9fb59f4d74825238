"""What rules would have made of events that are past: signals, and whom the policy would have struck."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

import msgspec

from sentinel.detection import Engine, RuleSet
from sentinel.detection.incidents import components_of, incident_of
from sentinel.detection.sigma.fields import getter, text
from sentinel.model import Decision, EventType, Micros, Signal, StoredEvent, SubjectType, micros
from sentinel.response.guardrails import GuardRails
from sentinel.response.policy import Facts, Policy, decide

__all__ = ["Backtest", "Struck", "backtest"]

_DAY: Micros = 24 * 3600 * 1_000_000
_AT_ONCE = 10_000  # events; between two portions the engine forgets what it can


class _Login(msgspec.Struct, frozen=True):
    at: Micros
    user: str | None


_Logins = Mapping[str, Sequence[_Login]]
"""Successful logins by address, and by the network of an IPv6 address."""


class Struck(msgspec.Struct, frozen=True):
    """A decision that would have been taken, and the good people whom it would have met."""

    decision: Decision
    users: tuple[str, ...]
    """Who signed in from the target in the day before, or tried to with success while it held."""
    logins_stopped: int
    """Successful logins from the target while the decision would have held."""


class Backtest(msgspec.Struct, frozen=True):
    """What would have been."""

    signals: list[Signal]
    struck: list[Struck]


def backtest(rules: RuleSet, policy: Policy, rails: GuardRails, events: Iterable[StoredEvent]) -> Backtest:
    """
    Return the signals of past events under these rules, and what the policy would have decided about them.

    Every window is judged, those that are open at the end too; an undo by a person is not foreseen.

    Args:
        rules: The rules to try.
        policy: What answers signals.
        rails: Who may not be struck.
        events: Any order; late ones make no signals. All are held in memory.
    """
    past = sorted(events, key=attrgetter("at"))
    signals = _signals(rules, past)
    return Backtest(signals, list(_struck(signals, policy, rails, _logins(past))))


def _signals(rules: RuleSet, past: Sequence[StoredEvent]) -> list[Signal]:
    timely = [event for event in past if not event.late]
    engine = Engine(rules)
    engine.warm((), engine.needs(timely))
    found: dict[str, Signal] = {}
    for start in range(0, len(timely), _AT_ONCE):
        portion = timely[start : start + _AT_ONCE]
        for _ in engine.forgetting(portion[0].at):
            pass
        found |= {signal.id: signal for signal in engine.add(portion)}
    found |= {signal.id: signal for signal in engine.close(None)}
    return sorted(found.values(), key=lambda signal: (signal.first, signal.id))


def _logins(past: Iterable[StoredEvent]) -> _Logins:
    network = getter("ip_network")
    found: dict[str, list[_Login]] = {}
    for event in (stored.event for stored in past if stored.event.event_type is EventType.AUTHENTICATION):
        if event.details.get("success") is True and event.ip_address is not None:
            login = _Login(micros(event.timestamp), event.user_id)
            for place in {event.ip_address, text(network(event)) or event.ip_address}:
                found.setdefault(place, []).append(login)
    return found


def _struck(signals: Iterable[Signal], policy: Policy, rails: GuardRails, logins: _Logins) -> Iterator[Struck]:
    by_subject: dict[tuple[str, SubjectType], list[Signal]] = {}
    for signal in signals:
        by_subject.setdefault((signal.subject, signal.subject_type), []).append(signal)
    decided: set[str] = set()
    for mine in by_subject.values():
        for earlier, together in enumerate(components_of(mine)):
            incident = incident_of(together)
            for signal in together:
                users = _users(logins.get(signal.subject, ()), signal.first - _DAY, signal.last + _DAY)
                behind = len(users) if signal.subject_type is SubjectType.IP else 0
                verdict = decide(incident, signal, Facts(earlier_incidents=earlier, users_behind=behind), policy, rails)
                if isinstance(verdict, Decision) and verdict.key not in decided:
                    decided.add(verdict.key)
                    yield _met(verdict, signal, logins)


def _met(decision: Decision, signal: Signal, logins: _Logins) -> Struck:
    known = logins.get(decision.target.removeprefix("ip:"), ())
    end = None if decision.duration_seconds is None else decision.at + round(decision.duration_seconds * 1_000_000)
    stopped = [login for login in known if login.at > decision.at and (end is None or login.at < end)]
    users = _users(known, signal.first - _DAY, signal.first) | {login.user for login in stopped if login.user}
    return Struck(decision, tuple(sorted(users)), len(stopped))


def _users(logins: Iterable[_Login], start: Micros, end: Micros) -> set[str]:
    return {login.user for login in logins if login.user is not None and start <= login.at <= end}
