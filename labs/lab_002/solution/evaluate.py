"""Exercise 4: how good a detector is."""

from sentinel import Scanner


def counts(labels, verdicts):
    """Return {"tp": ..., "fp": ..., "fn": ..., "tn": ...}."""
    pairs = list(zip(labels, verdicts, strict=True))
    return {
        "tp": pairs.count((True, True)),
        "fp": pairs.count((False, True)),
        "fn": pairs.count((True, False)),
        "tn": pairs.count((False, False)),
    }


def f1(labels, verdicts):
    """Return F1, from 0 to 1."""
    pairs = list(zip(labels, verdicts, strict=True))
    hits = pairs.count((True, True))
    wrong = sum(label != verdict for label, verdict in pairs)
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


def verdicts(engine, texts):
    """Return for each text whether a scanner with this engine, beside the shipped ones, calls it not safe."""
    scanner = Scanner(engines={**Scanner().engines, engine.id: engine})
    return [not scanner.scan(text).is_safe for text in texts]
