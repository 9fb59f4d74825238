"""Which detections an event meets, found without asking all."""

from __future__ import annotations

import pytest

from sentinel.detection import parse_rules
from sentinel.detection.index import Index
from sentinel.model import EventType

from .samples import event

ASKED = [
    "path: /login",
    "path|contains: admin",
    "path|contains: [etc, passwd]",
    "path|startswith: /API",
    "path|re: '^/l'",
    "path|neq: /login",
    "code: 500",
    "tags: red",
    "tags|contains: ed",
    "'': needle",
]
RULES = parse_rules(
    [
        (
            "r",
            "\n---\n".join(
                f"name: r{n}\nlogsource: {{category: network_request}}\ndetection: {{s: {{{asked}}}, condition: s}}"
                for n, asked in enumerate(ASKED)
            ),
        )
    ]
)


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"path": "/login"},
        {"path": "/LOGIN"},
        {"path": "/x/Admin/etc/passwd"},
        {"path": "/api/1"},
        {"path": ["/login", "/admin"]},
        {"code": 500},
        {"code": "500"},
        {"tags": ["blue", "red"]},
        {"tags": ["RED", "red"]},
        {"deep": [{"er": "a needle"}]},
        {"path": "\ud800admin"},
        {"path": None},
    ],
)
def test_the_index_finds_what_asking_every_rule_finds(details: dict[str, object]) -> None:
    """The shortcut leaves out no rule that matches, and each comes once."""
    assert not RULES.refused
    index = Index({rule.bases[0]: [rule.id] for rule in RULES.rules})
    met = event(details, event_type=EventType.NETWORK_REQUEST)
    assert sorted(index.find(met)) == [rule.id for rule in RULES.rules if rule.matches(met)]
