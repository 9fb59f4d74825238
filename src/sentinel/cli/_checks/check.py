"""One look at one thing, and what came of it."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Check", "State", "bad", "good", "skipped", "warned"]


class State(enum.StrEnum):
    """What came of a check."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


class Check(msgspec.Struct, frozen=True):
    """What was looked at, what was found, and how to mend it."""

    name: str
    state: State
    says: str
    fix: str = ""


def good(name: str, says: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name, State.OK, says)


def skipped(name: str, why: str) -> Check:
    """Return a check that could not be made here."""
    return Check(name, State.SKIPPED, why)


def warned(name: str, says: str, fix: str) -> Check:
    """Return a check that found what may be meant so."""
    return Check(name, State.WARNING, says, fix)


def bad(name: str, says: str, fix: str) -> Check:
    """Return a check that found a fault."""
    return Check(name, State.PROBLEM, says, fix)
