"""From an incident to a decision: the policy and the guard rails, both pure."""

from sentinel.response.guardrails import GuardRails, Network, normalise, protected, spelling
from sentinel.response.policy import (
    DEFAULT_LIMIT,
    SHARED_BY_USERS,
    Declined,
    Facts,
    Policy,
    PolicyRule,
    decide,
    default_policy,
    parse_policy,
)

__all__ = [
    "DEFAULT_LIMIT",
    "SHARED_BY_USERS",
    "Declined",
    "Facts",
    "GuardRails",
    "Network",
    "Policy",
    "PolicyRule",
    "decide",
    "default_policy",
    "normalise",
    "parse_policy",
    "protected",
    "spelling",
]
