"""Exercise 2: judge a conversation."""


def risks(turns):
    """Return the risk of each turn, given those before it."""
    raise NotImplementedError


def blocked_from(turns):
    """Return the number, from 0, of the first turn that is not safe; None if all are."""
    raise NotImplementedError


def added(turns):
    """Return how much the history adds to the risk of the last turn."""
    raise NotImplementedError
