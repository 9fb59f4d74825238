"""Exercise 2: ask the scanner from Python."""

from sentinel import scan


def judge(text):
    """Return {"safe": bool, "threat": name or None, "risk": from 0 to 1}."""
    result = scan(text)
    return {"safe": result.is_safe, "threat": result.threat_type, "risk": result.risk_score}


def worst(texts):
    """Return the text with the highest risk."""
    return max(texts, key=lambda text: scan(text).risk_score)


def quotes(text):
    """Return the piece of the text at which each finding points."""
    return [text[start:end] for start, end in (finding.span for finding in scan(text).findings)]
