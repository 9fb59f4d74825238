"""Events from acceptance to outcome: `Intake` makes them durable, `Worker` judges them, `Board` shows what is in force."""

from sentinel.stream.board import Board
from sentinel.stream.intake import Intake, Overloaded, Receipt, Source
from sentinel.stream.worker import Worker

__all__ = ["Board", "Intake", "Overloaded", "Receipt", "Source", "Worker"]
