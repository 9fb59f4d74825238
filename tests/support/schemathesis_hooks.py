"""What schemathesis must know of our API beyond JSON Schema: the formats of ours, and NDJSON."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from hypothesis import strategies as st

NETWORKS = ("203.0.113.9", "198.51.100.0/24", "10.1.2.3", "2001:db8::1", "2001:db8:1:2::/64", "192.0.2.77")

names = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=40)
networks = st.sampled_from(NETWORKS) | st.ip_addresses().map(str)


def kinds(*words: str) -> st.SearchStrategy[str]:
    return st.builds("{}:{}".format, st.sampled_from(words), names)


targets = {
    "ip_block": networks,
    "user_suspend": names,
    "account_lockout": names,
    "rate_limit": networks.map("ip:{}".format) | kinds("user", "endpoint"),
    "service_isolation": names,
    "threat_quarantine": kinds("session", "document", "tool"),
    "alert_escalation": names,
}
schemathesis.openapi.format("ip-network", networks)
for action_type, written in targets.items():
    schemathesis.openapi.format(f"target-of-{action_type}", written)


@schemathesis.serializer("application/x-ndjson")
def ndjson(_ctx: Any, value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace")
