"""Exercise 1: patterns of your own."""


def settings():
    """Return settings that flag names of projects and numbers of tickets."""
    return {
        "custom_patterns": {
            "project": [r"\bproject\s+(?:phoenix|heron)\b"],
            "ticket": [r"\bSEC-[0-9]{4,6}\b"],
        },
        "pattern_action": "flag",
    }
