"""Exercise 3: look at what goes out."""

from sentinel import scan


def problems(prompt, answer):
    """Return the categories of what was found in the answer, sorted, each once."""
    findings = scan(prompt, response=answer).findings
    return sorted({finding.category for finding in findings if finding.source == "response"})
