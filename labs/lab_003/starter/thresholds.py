"""Exercise 2: thresholds."""


def choose(benign_risks, allowed):
    """Return the lowest threshold, to two digits, that flags at most this share of harmless texts."""
    raise NotImplementedError


def help_desk():
    """Return settings under which e-mail addresses and card numbers in prompts are not safe."""
    return {}


def brainstorming():
    """Return settings that draw the line for every threat at 0.7."""
    return {}
