"""Tests of sentinel.access."""

from __future__ import annotations

import re

from sentinel.access import Token, TokenBook, includes, looks_real, mint, token_hash
from sentinel.model import Role, Severity


def token(text: str, **fields: object) -> Token:
    values = {
        "id": "t",
        "name": "n",
        "role": Role.VIEWER,
        "hash": token_hash(text),
        "max_severity": Severity.LOW,
        "may_cause_actions": False,
        "created_at": 0,
    }
    return Token(**(values | fields))  # type: ignore[arg-type]


def test_tokens_have_role_randomness_and_checksum() -> None:
    """Their form is the contract's, and no two are alike."""
    made = {mint(Role.INGEST) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("sntl_ingest_[0-9A-Za-z]{38}", text) and looks_real(text) for text in made)


def test_any_changed_character_shows_without_the_store() -> None:
    """A mistyped token and a scanner's guess cost no look-up."""
    text = mint(Role.ADMIN)
    for place in range(len(text)):
        changed = text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :]
        assert not looks_real(changed), place
    assert not looks_real("")
    assert not looks_real("sntl_")


def test_a_token_ends_by_time_by_word_and_by_place() -> None:
    """Each of the three is enough."""
    text = mint(Role.VIEWER)
    assert TokenBook([token(text)]).find(text, 10, None)
    assert not TokenBook([token(text, expires_at=10)]).find(text, 10, None)
    assert TokenBook([token(text, expires_at=11)]).find(text, 10, None)
    assert not TokenBook([token(text, revoked_at=1)]).find(text, 10, None)
    inside = TokenBook([token(text, source_cidr="203.0.113.0/24")])
    assert inside.find(text, 10, "203.0.113.9")
    assert not inside.find(text, 10, "198.51.100.9")
    assert not inside.find(text, 10, None)
    assert not inside.find(text, 10, "testclient")


def test_roles_include_each_other_for_reading_only() -> None:
    """Admin > analyst > viewer; ingest, enforcer and scraper stand alone (E1)."""
    chain = [Role.VIEWER, Role.ANALYST, Role.ADMIN]
    for n, role in enumerate(chain):
        assert [includes(role, {wanted}) for wanted in chain] == [m <= n for m in range(3)]
    for alone in (Role.INGEST, Role.ENFORCER, Role.SCRAPER):
        assert [role for role in Role if includes(role, {alone})] == [alone]
