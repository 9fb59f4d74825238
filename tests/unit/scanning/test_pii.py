"""Personal data are told from what only looks like them."""

from __future__ import annotations

import pytest

from sentinel import scan


def found(text: str) -> set[str]:
    return {finding.category for finding in scan(text, engines=["pii"]).findings}


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("Write to john@email.com.", "pii_email"),
        ("<maria.lopez+news@mail.uni-bonn.de>", "pii_email"),
        ("Call 555-123-4567", "pii_phone"),
        ("Call (212) 555-0187 or 212.555.0187", "pii_phone"),
        ("Ring +44 20 7946 0958", "pii_phone"),
        ("My SSN is 219-09-9999", "pii_ssn"),
        ("Card 4111 1111 1111 1111", "pii_credit_card"),
        ("Card 3782-822463-10005", "pii_credit_card"),
        ("IBAN DE89 3704 0044 0532 0130 00", "pii_iban"),
        ("IBAN GB82WEST12345698765432", "pii_iban"),
        ("zero w\u200bidth: jo\u200bhn@em\u200bail.com", "pii_email"),
    ],
)
def test_personal_data_are_found(text: str, category: str) -> None:
    """Each kind in the ways that people write it."""
    assert category in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "Write to someone@example.com or root@localhost.example",
        "noreply@shop.de sent it; git@github.com:owner/repository.git",
        "Card 4111 1111 1111 1112",
        "Order 4000000000000000000000",
        "Serial 000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 123-45-0000",
        "IBAN DE88 3704 0044 0532 0130 00",
        "+1 234",
        "Version 10.20.30 of 2024-10-01 at 12:34:56.789",
        "The address 192.168.100.200 and port 8080",
        "ISBN 978-3-16-148410-0",
        "read eht number 7654-321-555 backwards",
    ],
)
def test_look_alikes_are_not(text: str) -> None:
    """Reserved addresses, wrong check digits, numbers never issued and other numbers are nobody's."""
    assert found(text) == set()
