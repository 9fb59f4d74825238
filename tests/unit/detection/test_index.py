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
    "path|re: '^/L', code: 500",
    "path|re: 'n$', code|neq: 500",
    "code: 1",
    "code: true",
    "code|gte: 0.5",
    "code: '-0.0'",
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


def found_and_matching(index: Index[str], details: dict[str, object]) -> tuple[list[str], list[str]]:
    met = event(details, event_type=EventType.NETWORK_REQUEST)
    return sorted(index.find(met)), sorted(rule.id for rule in RULES.rules if rule.matches(met))


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
    found, matching = found_and_matching(index, details)
    assert found == matching


def test_values_that_are_equal_and_read_otherwise_are_told_apart() -> None:
    """What was found for 1 is not the answer for true, and 0.0 is not -0.0, whichever came first."""
    index = Index({rule.bases[0]: [rule.id] for rule in RULES.rules})
    for code in [1, True, 1.0, "1", "true", 0, 0.0, -0.0, False, None, 1, True, -0.0, 0.0]:
        found, matching = found_and_matching(index, {"code": code})
        assert found == matching, code


def test_more_values_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field with values without end costs time, and neither memory nor an answer."""
    monkeypatch.setattr("sentinel.detection.index.MOST_REMEMBERED", 3)
    index = Index({rule.bases[0]: [rule.id] for rule in RULES.rules})
    for n in range(20):
        details = {"path": f"/{n}/admin/etc"[: 5 + n], "code": 499 + n % 4}
        found, matching = found_and_matching(index, details)
        assert found == matching, details
    (plan,) = [plan for plan in index._own.values() if len(plan._known) > 1]
    assert max(len(known) for *_, known, _ in plan._fields) <= 3
    assert max(len(field._alike) for *_, field in plan._fields) <= 3
    assert len(plan._known) <= 3
