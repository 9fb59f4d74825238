"""Secrets in use are told from placeholders and hashes."""

from __future__ import annotations

import base64

import pytest

from sentinel import scan

# In pieces, so that no scanner of source code takes them for real.
GITHUB = "gh" + "p_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
AWS = "AK" + "IAQ7LNB3V5XWZ2H4TD"
CHAT = "xo" + "xb-20381827712-Zk39fjQ81mzPq7"


def found(text: str) -> set[str]:
    return {finding.category for finding in scan(text, engines=["secret"]).findings}


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("The API key is: sk-abc123xyz789defghijklmnop", "secret_api_key"),
        (f"export TOKEN={GITHUB}", "secret_token"),
        (f"aws {AWS}", "secret_cloud_key"),
        (f"slack: {CHAT}", "secret_token"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n", "secret_private_key"),
        ("postgres://app:Vq8!rT2kLm@db.internal/main", "secret_password"),
        ("password = 'tR8#kq2Lz!mW9xPv4'", "secret_assigned"),
        ('{"client_secret": "9f8e7d6c5b4a39281706f5e4d3c2b1a0"}', "secret_assigned"),
        ("AZURE_CLIENT_SECRET=k3L" + "8Q~vN2pQr7sT1uWx4yZa6bCd8eFg0hIj3kLm5n", "secret_cloud_key"),
        ("Server=db;User Id=app;Password=Vq8!rT2kLm;", "secret_password"),
        ("curl -u ann:dB2yF6qL9vZm https://api.firm.de", "secret_password"),
        ("Authorization: Bearer 7f3kQ9xZ2mLp8vRt5wYc1nBs", "secret_token"),
        ("MY_API_KEY=9f8e7d6c5b4a39281706f5e4d3c2b1a0", "secret_assigned"),
        ("eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiJhbm4iLCJleHAiOjF9.Qm3Zs8Kx1Lp9Tw7Yc5Vn2Rb4", "secret_token"),
        ("sn" + "tl_analyst_4tWq9LmZk2XcVb7NhRy8PdGs5JfTa3UetsF2T2", "secret_token"),
        (base64.b64encode(f"the token is {GITHUB}, keep it".encode()).decode(), "secret_token"),
    ],
)
def test_secrets_are_found(text: str, category: str) -> None:
    """Known forms by their form, unknown ones by their name; encoded ones too."""
    assert category in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "api_key = 'your-api-key-goes-here'",
        "password = 'correcthorsebatterystaple'",
        "password: 1111111111111111111",
        "client secret: 90817263544536271",
        "secret=xxxxxxxxxxxxxxxxxxxxxxxx1",
        "OPENAI_API_KEY=sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "token = os.environ['TOKEN']",
        "postgres://user:password@localhost/main",
        "sntl_analyst_4tWq9LmZk2XcVb7NhRy8PdGs5JfTa3Ueaaaaaa",
        "Password=;Server=db",
        "curl -u $USER:$PASSWORD https://api.firm.de",
        "Authorization: Bearer <your-token>",
        "Authorization: Bearer ${process.env.API_TOKEN_2_PRODUCTION}",
        "AIzaSyabcdefghijklmnopqrstuvwxyz1234567",
        "password: see section 12.4 of the manual",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0.Qm3Zs8Kx1Lp9Tw7Yc5Vn2Rb4",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "The secret is patience and a password manager.",
    ],
)
def test_placeholders_and_hashes_are_not(text: str) -> None:
    """What documentation is full of is no secret."""
    assert found(text) == set()


def test_chance_readings_hold_no_secrets() -> None:
    """A key that appears only when a text is read backwards is chance, not a leak."""
    assert found(f"the end, siht: {GITHUB[::-1]} eht") == set()
