"""What `sentinel validate` and `sentinel doctor` look at. Each check says what it found and how to mend it."""

from sentinel.cli._checks.check import Check, State, bad, good, skipped, warned
from sentinel.cli._checks.telling import ask_service, counted, tell

__all__ = ["Check", "State", "ask_service", "bad", "counted", "good", "skipped", "tell", "warned"]
