"""Exercise 4: a pipeline."""

from sentinel import Pipeline, Rule  # noqa: F401 - you will need them


def settings():
    """Return settings with a pipeline of three layers."""
    return {}
