"""Exercise 4: how good a detector is."""


def counts(labels, verdicts):
    """Return {"tp": ..., "fp": ..., "fn": ..., "tn": ...}."""
    raise NotImplementedError


def f1(labels, verdicts):
    """Return F1, from 0 to 1."""
    raise NotImplementedError


def verdicts(engine, texts):
    """Return for each text whether a scanner with this engine, beside the shipped ones, calls it not safe."""
    raise NotImplementedError
