"""Exercise 3: an engine that finds payments being diverted."""

import re

from sentinel.core import Finding, Severity
from sentinel.model import ScanThreat
from sentinel.scanning.engines import Flags, Ignores

_WHAT = r"(?:bank(?:ing)?(?: details| account)?|accounts?|iban)"
_HOW = r"(?:new|chang\w+|updated?|different|replaced)"
CHANGED = re.compile(rf"\b{_HOW}\b[^.!?;]{{0,30}}\b{_WHAT}\b|\b{_WHAT}\b[^.!?;]{{0,30}}\b{_HOW}\b", re.IGNORECASE)
PAY = re.compile(r"\b(?:pay(?:ments?)?|transfer|wire|remit|send (?:the|all|your|any))\b", re.IGNORECASE)


class PaymentDiversion:
    """Finds texts that name a changed account, and ask to pay."""

    id = "payment_diversion"
    title = "Payments to a changed account"
    threats = (ScanThreat.CUSTOM,)
    sources = ("prompt",)
    by_rules = False  # no file of rules tells where to look: it is asked about every text
    EXAMPLES = (
        Flags("Our bank details have changed. Please pay the open invoice to the new account below."),
        Flags("We have a new IBAN. Kindly transfer all future payments there."),
        Ignores("I opened a new account at the library."),
        Ignores("Please pay the invoice by Friday."),
    )

    def examine(self, text):
        """Yield one finding for each place where something is said to have changed, if there is talk of paying."""
        for view in text.views:
            if not PAY.search(view.text):
                continue
            for match in CHANGED.finditer(view.text):
                yield Finding(
                    category="payment_diversion",
                    message="Asks to pay to an account that has changed.",
                    severity=Severity.HIGH,
                    confidence=0.9,
                    engine=self.id,
                    span=view.span(match.start(), match.end()),
                    rule_id="payment_diversion.changed",
                    threat=ScanThreat.CUSTOM,
                    view=view.name,
                )
