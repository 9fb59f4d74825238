"""Baselines: what is usual for each user and service, learnt from closed hours, and what is not. Pure."""

from __future__ import annotations

from sentinel.detection.baseline.anomaly import Anomaly
from sentinel.detection.baseline.baselines import Baselines, Step
from sentinel.detection.baseline.tuning import Tuning, parse_tuning

__all__ = ["Anomaly", "Baselines", "Step", "Tuning", "parse_tuning"]
