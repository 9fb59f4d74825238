"""How people are told: channels, and who is told when."""

from sentinel.notify.alertmanager import Alertmanager
from sentinel.notify.channels import AppriseChannel, Channel, ConsoleChannel, OnceChannel, WebhookChannel
from sentinel.notify.plan import Level, Plan, default_plan, parse_plan

__all__ = [
    "Alertmanager",
    "AppriseChannel",
    "Channel",
    "ConsoleChannel",
    "Level",
    "OnceChannel",
    "Plan",
    "WebhookChannel",
    "default_plan",
    "parse_plan",
]
