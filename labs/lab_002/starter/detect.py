"""Exercise 1: what kind of attack, in which disguise, in which document."""


def attack(text):
    """Return the threat's name; None for a safe text."""
    raise NotImplementedError


def readings(text):
    """Return the names of the views in which something was found, sorted."""
    raise NotImplementedError


def hidden_in(documents):
    """Return the numbers, from 0, of the documents in which something was found, sorted."""
    raise NotImplementedError


def owasp(text):
    """Return the ids of the OWASP Top 10 for LLM applications that apply, sorted."""
    raise NotImplementedError
