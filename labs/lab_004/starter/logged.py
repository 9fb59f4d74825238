"""Exercise 1: one line of JSON a scan."""

from sentinel import scan


def secure_scan(text, user_id, session_id):
    """Scan, log and return the result."""
    return scan(text)
