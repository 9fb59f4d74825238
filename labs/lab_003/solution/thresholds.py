"""Exercise 2: thresholds."""


def choose(benign_risks, allowed):
    """Return the lowest threshold, to two digits, that flags at most this share of harmless texts."""
    for hundredths in range(101):
        threshold = hundredths / 100
        flagged = sum(risk >= threshold for risk in benign_risks)
        if flagged <= allowed * len(benign_risks):
            return threshold
    return 1.0


def help_desk():
    """Return settings under which e-mail addresses and card numbers in prompts are not safe."""
    return {"thresholds": {"pii": 0.5}, "pii_types": ["email", "credit_card"]}


def brainstorming():
    """Return settings that draw the line for every threat at 0.7."""
    return {"mode": "lenient"}
