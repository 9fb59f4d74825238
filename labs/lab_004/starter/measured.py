"""Exercise 2: figures for Prometheus."""

from sentinel import scan


def instrumented_scan(text, session_id=None):
    """Scan, count and return the result."""
    return scan(text)


def start_exporter(port):
    """Show the figures at http://127.0.0.1:PORT/metrics, and go on."""
    raise NotImplementedError
