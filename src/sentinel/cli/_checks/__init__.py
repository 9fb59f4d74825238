"""What `sentinel validate` and `sentinel doctor` look at. Each check says what it found and how to mend it."""

from sentinel.cli._checks.check import Check, State, bad, good, skipped, warned

__all__ = ["Check", "State", "bad", "good", "skipped", "warned"]
