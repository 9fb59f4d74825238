"""Exercise 3: tell people, once."""


class AlertManager:
    """Watches the share of unsafe texts among the last 100."""

    def __init__(self, thresholds):
        self.thresholds = thresholds

    def check_and_alert(self, result):
        """Take one more result, and send what follows from it."""
        raise NotImplementedError

    def send_alert(self, title, message):
        """Tell somebody."""
        print(title, message)
