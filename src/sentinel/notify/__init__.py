"""How people are told: channels, and who is told when."""

from sentinel.notify.channels import AppriseChannel, Channel, ConsoleChannel
from sentinel.notify.plan import Level, Plan, default_plan, parse_plan

__all__ = ["AppriseChannel", "Channel", "ConsoleChannel", "Level", "Plan", "default_plan", "parse_plan"]
