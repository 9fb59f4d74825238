"""From an incident to a decision: the policy and the guard rails, both pure."""

from sentinel.response.guardrails import WIDEST_PREFIX, GuardRails, Network, normalise, protected, spelling
from sentinel.response.policy import (
    DEFAULT_LIMIT,
    SHARED_BY_USERS,
    Declined,
    Facts,
    Policy,
    PolicyRule,
    decide,
    default_policy,
    escalate,
    overrun,
    parse_policy,
)
from sentinel.response.targets import Target, parse_target, refusal

__all__ = [
    "DEFAULT_LIMIT",
    "SHARED_BY_USERS",
    "WIDEST_PREFIX",
    "Declined",
    "Facts",
    "GuardRails",
    "Network",
    "Policy",
    "PolicyRule",
    "Target",
    "decide",
    "default_policy",
    "escalate",
    "normalise",
    "overrun",
    "parse_policy",
    "parse_target",
    "protected",
    "refusal",
    "spelling",
]
