"""Exercise 2: judge a conversation."""

from sentinel import AnalysisContext, scan


def _judged(turns):
    for number, turn in enumerate(turns):
        yield scan(turn, context=AnalysisContext(prompt=turn, history=turns[:number]))


def risks(turns):
    """Return the risk of each turn, given those before it."""
    return [result.risk_score for result in _judged(turns)]


def blocked_from(turns):
    """Return the number, from 0, of the first turn that is not safe; None if all are."""
    return next((number for number, result in enumerate(_judged(turns)) if not result.is_safe), None)


def added(turns):
    """Return how much the history adds to the risk of the last turn."""
    *before, last = turns
    together = scan(last, context=AnalysisContext(prompt=last, history=before))
    return together.risk_score - scan(last).risk_score
