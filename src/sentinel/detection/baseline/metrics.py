"""What is measured of an entity, and how: one catalogue that the cells, the judge, the settings and the pages share."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

__all__ = [
    "COUNTS",
    "FIRST_SEEN",
    "HEAVY",
    "METRICS",
    "RATED",
    "SERVICE",
    "USER",
    "AnomalyType",
    "Kind",
    "Metric",
]

USER: Final = "user"
SERVICE: Final = "service"


class AnomalyType(enum.StrEnum):
    """What kind of oddity it is, as the contract names them."""

    STATISTICAL = "statistical"
    BEHAVIORAL = "behavioral"
    TEMPORAL = "temporal"
    GEOGRAPHICAL = "geographical"
    VOLUMETRIC = "volumetric"
    PATTERN_BASED = "pattern_based"


class Kind(enum.StrEnum):
    """How a metric is judged; also the `method` of its anomalies."""

    MEDIAN_MAD = "median_mad"
    """Amounts with heavy tails, on a logarithmic scale: the hour, and the day so far, against the days before."""
    COUNT_MODEL = "negative_binomial"
    """Rare events of a day, whose usual number is 0."""
    Z_SCORE = "z_score"
    """The mean level of an hour, on a logarithmic scale, against the largest of each day before."""
    HOUR_OF_WEEK = "hour_of_week"
    FIRST_SEEN = "first_seen"
    SPEED = "travel_speed"
    SESSION = "session_change"
    REGULARITY = "regular_intervals"
    TREND = "trend"
    """The last days together against those before."""
    COMBINATION = "combination"


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is measured."""

    name: str
    kind: Kind
    type: AnomalyType
    family: str
    """Metrics of one family tell much the same, so a combination takes the most surprising of them."""
    entity: str = USER
    prior: float = 0.001
    """For what happens or does not: how many days in a thousand of one person show it, before any are seen."""
    tells: str = ""
    """In words, for people."""


_HEAVY = (
    ("rows", "volume", "rows read or written"),
    ("sensitive_rows", "volume", "rows of sensitive data"),
    ("accesses", "volume", "accesses to data"),
    ("tools", "tools", "uses of tools"),
    ("requests", "requests", "requests"),
    ("bytes", "requests", "bytes"),
)
_COUNTS = (
    ("login_failures", "failures", "failed logins"),
    ("refusals", "refusals", "refused rights"),
    ("violations", "violations", "violations and unsafe texts"),
    ("changes", "refusals", "changes of roles, rights and settings"),
)
_VALUES = (
    ("country", "place", AnomalyType.GEOGRAPHICAL, 0.002, "a country"),
    ("agent", "agent", AnomalyType.BEHAVIORAL, 0.003, "a program (user agent, without versions)"),
    ("tool", "tool", AnomalyType.BEHAVIORAL, 0.004, "a tool"),
    ("table", "table", AnomalyType.BEHAVIORAL, 0.004, "a table"),
    ("network", "network", AnomalyType.BEHAVIORAL, 0.05, "a network"),
    ("service", "service", AnomalyType.BEHAVIORAL, 0.01, "a service"),
    ("resource", "resource", AnomalyType.BEHAVIORAL, 0.01, "a resource that rights are asked for"),
    ("activity", "activity", AnomalyType.BEHAVIORAL, 0.01, "a kind of event"),
)


def _catalogue() -> tuple[Metric, ...]:
    found = [
        Metric(name=name, kind=Kind.MEDIAN_MAD, type=AnomalyType.VOLUMETRIC, family=family, tells=tells)
        for name, family, tells in _HEAVY
    ]
    found += [
        Metric(name=name, kind=Kind.COUNT_MODEL, type=AnomalyType.STATISTICAL, family=family, tells=tells)
        for name, family, tells in _COUNTS
    ]
    found += [
        Metric(name=f"new_{name}", kind=Kind.FIRST_SEEN, type=kind, family=family, prior=prior, tells=tells)
        for name, family, kind, prior, tells in _VALUES
    ]
    times, slow = "milliseconds to answer", AnomalyType.STATISTICAL
    return (
        *found,
        Metric(name="response_time", kind=Kind.Z_SCORE, type=slow, family="time", tells=times),
        Metric(name="service_response_time", kind=Kind.Z_SCORE, type=slow, family="time", entity=SERVICE, tells=times),
        Metric(
            name="active_hour",
            kind=Kind.HOUR_OF_WEEK,
            type=AnomalyType.TEMPORAL,
            family="hours",
            tells="activity at an hour",
        ),
        Metric(
            name="travel",
            kind=Kind.SPEED,
            type=AnomalyType.GEOGRAPHICAL,
            family="place",
            prior=0.0003,
            tells="km/h between two places",
        ),
        Metric(
            name="session",
            kind=Kind.SESSION,
            type=AnomalyType.PATTERN_BASED,
            family="session",
            prior=0.0003,
            tells="another program or country in one session",
        ),
        Metric(
            name="regularity",
            kind=Kind.REGULARITY,
            type=AnomalyType.PATTERN_BASED,
            family="regularity",
            tells="share of equal intervals",
        ),
        Metric(
            name="rising_rows",
            kind=Kind.TREND,
            type=AnomalyType.STATISTICAL,
            family="volume",
            tells="rows over several days",
        ),
        Metric(
            name="rising_refusals",
            kind=Kind.TREND,
            type=AnomalyType.STATISTICAL,
            family="refusals",
            tells="refused rights over several days",
        ),
        Metric(
            name="behaviour",
            kind=Kind.COMBINATION,
            type=AnomalyType.BEHAVIORAL,
            family="",
            tells="several mild oddities in one day",
        ),
    )


METRICS: Final = {metric.name: metric for metric in _catalogue()}
HEAVY: Final = tuple(name for name, *_ in _HEAVY)
COUNTS: Final = tuple(name for name, *_ in _COUNTS)
FIRST_SEEN: Final = tuple(name for name, *_ in _VALUES)
RATED: Final = frozenset({"travel", "session", *(f"new_{name}" for name in FIRST_SEEN)})
"""What happens or does not: its surprise comes from how often it has happened to anybody."""
