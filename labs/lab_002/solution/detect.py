"""Exercise 1: what kind of attack, in which disguise, in which document."""

from sentinel import AnalysisContext, scan


def attack(text):
    """Return the threat's name; None for a safe text."""
    return scan(text).threat_type


def readings(text):
    """Return the names of the views in which something was found, sorted."""
    return sorted({finding.view for finding in scan(text).findings})


def hidden_in(documents):
    """Return the numbers, from 0, of the documents in which something was found, sorted."""
    findings = scan("", context=AnalysisContext(retrieved_documents=documents)).findings
    return sorted({int(finding.source.removeprefix("document:")) for finding in findings})


def owasp(text):
    """Return the ids of the OWASP Top 10 for LLM applications that apply, sorted."""
    return sorted({name for finding in scan(text).findings for name in finding.owasp})
