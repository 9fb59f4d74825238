"""An anomaly, and the case in which it is found: one entity in one hour."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from sentinel.detection.baseline.cells import DAY
from sentinel.detection.baseline.habits import Today
from sentinel.detection.baseline.metrics import METRICS, AnomalyType
from sentinel.detection.baseline.tails import score_of
from sentinel.detection.baseline.tuning import Tuning
from sentinel.model import Micros, Severity

__all__ = ["LEARNING", "Anomaly", "Case"]

LEARNING: Final[Micros] = 7 * DAY
"""Decisions, H1: so long from the first event of an entity and metric nothing is told."""

_TOLD_APART = 0.03
"""What a metric was told of is told again on the same day only when its score is larger by this."""


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """Something unusual about an entity, with what it is compared with."""

    id: str
    """Hash of entity, metric and hour."""
    entity: str
    entity_type: str
    metric: str
    type: AnomalyType
    method: str
    n: int
    """On how many observations the expectation rests."""
    expected: float | str
    observed: float | str
    score: float
    """In [0, 1]."""
    severity: Severity
    at: Micros
    reason: str
    rank: int
    """Of the severity that the events' senders may reach, the highest."""
    origin: str
    """The import that sent any of the events, if one did."""
    effects: bool
    """Whether it may take effect: not with anything from an import that only looks back."""


class Case(msgspec.Struct):
    """One entity in one hour, and what was found of it."""

    entity: str
    hour: int
    today: Today
    ready: bool
    """False for whoever was seen on too few days: surprises are remembered, and nothing is told."""
    since: Micros
    """When the entity was first seen; for some days from then on it is being learnt, too."""
    tuning: Tuning
    correct: Callable[[str, float], float]
    """By metric, the surprise of a model as it should have been."""
    found: list[Anomaly] = []

    def weigh(
        self,
        metric: str,
        surprise: float,
        *,
        at: Micros,
        n: int,
        expected: float | str,
        observed: float | str,
        reason: str,
        ready: bool = True,
        since: Micros = 0,
    ) -> None:
        """Remember a surprise, and tell of it if it is large, new, and not a learner's."""
        if surprise <= 0:
            return
        today, limits = self.today, self.tuning.of(metric)
        today.surprises[metric] = max(today.surprises.get(metric, 0.0), round(surprise, 3))
        if not (self.ready and ready and limits.enabled) or at - max(self.since, since) < LEARNING:
            return
        score = round(score_of(self.correct(metric, surprise)), 3)
        if score < limits.report or score < today.told.get(metric, 0.0) + _TOLD_APART:
            return
        today.told[metric] = score
        facts = METRICS[metric]
        self.found.append(
            Anomaly(
                id=_id(facts.entity, self.entity, metric, self.hour),
                entity=self.entity,
                entity_type=facts.entity,
                metric=metric,
                type=facts.type,
                method=facts.kind.value,
                n=n,
                expected=expected if isinstance(expected, str) else round(expected, 2),
                observed=observed if isinstance(observed, str) else round(observed, 2),
                score=score,
                severity=limits.severity(score),
                at=at,
                reason=reason,
                rank=today.rank,
                origin=today.origin,
                effects=today.effects,
            )
        )


def _id(entity_type: str, entity: str, metric: str, hour: int) -> str:
    name = f"anomaly\0{entity_type}\0{entity}\0{metric}\0{hour}"
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
