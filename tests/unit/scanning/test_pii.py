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
        ("Tel. 030 901820", "pii_phone"),
        ("Appelez le 06 12 34 56 78", "pii_phone"),
        ("NI number AB 12 34 56 C", "pii_national_id"),
        ("NIR 1 84 12 76 451 089 46", "pii_national_id"),
        ("DNI 12345678Z, NIE X1234567L", "pii_national_id"),
        ("codice fiscale RSSMRA85T10A562S", "pii_national_id"),
        ("Steuer-ID: 86 095 742 719", "pii_national_id"),
        ("BSN 111222333", "pii_national_id"),
        ("PESEL 44051401359", "pii_national_id"),
        ("CPF 529.982.247-25", "pii_national_id"),
        ("Aadhaar 2345 6789 0124", "pii_national_id"),
        ("SIN number: 046 454 286", "pii_national_id"),
        ("USt-IdNr. DE136695976", "pii_tax_id"),
        ("TVA FR83404833048", "pii_tax_id"),
        ("P.IVA IT00743110157", "pii_tax_id"),
        ("btw NL004495445B01", "pii_tax_id"),
        ("NIP PL8567346215", "pii_tax_id"),
        ("Passport number: C01X00T47", "pii_passport"),
        ("Driver's license number D1234567", "pii_driving_licence"),
        ("he came from 93.184.216.34", "pii_ip_address"),
        ("pay 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "pii_crypto_address"),
        ("pay bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "pii_crypto_address"),
        ("my date of birth is 4 July 1986", "pii_birth_date"),
        ("I live at 12 Old Mill Road.", "pii_address"),
        ("NHS number: 943 476 5919", "phi_nhs_number"),
        ("MRN: 00481516", "phi_mrn"),
        ("NPI 1234567893", "phi_npi"),
        ("DEA: AB1234563", "phi_dea"),
        ("Medicare number: 1EG4-TE5-MK73", "phi_medicare"),
        ("ICD-10: E11.9", "phi_diagnosis"),
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
        "IBAN DE8937040044053201300000",
        "NI number GB 12 34 56 C",
        "NIR 1 84 12 76 451 089 47",
        "DNI 12345678A, NIE X1234567A",
        "codice fiscale RSSMRA85T10A562T",
        "Steuer-ID: 86 095 742 718",
        "BSN 111222334, PESEL 44051401358, CPF 529.982.247-26",
        "2345 6789 0125 and 1111 1111 1111",
        "SIN number: 046 454 287",
        "DE136695975 FR84404833048 IT00743110158 NL004495446B01 PL8567346216",
        "10.1.2.3, 127.0.0.1, 8.8.8.8, 203.0.113.7, 8.02.7.0",
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "NPI 1234567894, DEA: AB1234564, NHS number: 9434765918",
        "Mozart was born on 27 January 1756 in Salzburg.",
        "Your passport number and date of birth are required.",
        "read eht number 7654-321-555 backwards",
    ],
)
def test_look_alikes_are_not(text: str) -> None:
    """Reserved addresses, wrong check digits, numbers never issued and other numbers are nobody's."""
    assert found(text) == set()
