"""From acceptance to outcome: `Intake` makes events durable, `Worker` judges them, `Board` shows what holds."""

from sentinel.stream.board import Board
from sentinel.stream.canary import Canary
from sentinel.stream.escalation import Escalation
from sentinel.stream.evidence import Evidence
from sentinel.stream.intake import Intake, Overloaded, Receipt, Source
from sentinel.stream.mirror import Mirror
from sentinel.stream.orders import Orders
from sentinel.stream.people import People
from sentinel.stream.push import AlertmanagerPush
from sentinel.stream.reload import Rules
from sentinel.stream.respond import Responder
from sentinel.stream.worker import Worker

__all__ = [
    "AlertmanagerPush",
    "Board",
    "Canary",
    "Escalation",
    "Evidence",
    "Intake",
    "Mirror",
    "Orders",
    "Overloaded",
    "People",
    "Receipt",
    "Responder",
    "Rules",
    "Source",
    "Worker",
]
