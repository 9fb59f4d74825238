"""Exercise 3: an engine that finds payments being diverted."""

from sentinel.core import Finding, Severity  # noqa: F401 - you will need them
from sentinel.model import ScanThreat
from sentinel.scanning.engines import Flags, Ignores  # noqa: F401 - and these


class PaymentDiversion:
    """Finds texts that name a changed account, and ask to pay."""

    id = "payment_diversion"
    title = "Payments to a changed account"
    threats = (ScanThreat.CUSTOM,)
    sources = ("prompt",)
    by_rules = False  # no file of rules tells where to look: it is asked about every text
    EXAMPLES = ()

    def examine(self, text):
        """Yield findings: category payment_diversion, rule_id payment_diversion.changed, engine = self.id."""
        raise NotImplementedError
