"""Tests of sentinel.settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinel.errors import ConfigError
from sentinel.settings import load_settings, parse_duration


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    """One order of precedence, the same for every setting."""
    file = tmp_path / "s.toml"
    file.write_text('port = 1\nhost = "::1"\nlateness = "2h"\nallow_list = ["10.0.0.0/8"]\n')
    environ = {"SENTINEL_CONFIG": str(file), "SENTINEL_PORT": "2", "SENTINEL_HOST": "127.0.0.2"}
    settings = load_settings({"port": 3, "host": None}, environ)
    assert (settings.port, settings.host, settings.lateness) == (3, "127.0.0.2", 7200.0)
    assert settings.allow_list == ("10.0.0.0/8",)
    assert load_settings({}, {}).port == 8000


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("prot = 1\n", "did you mean 'port'"),
        ("port = 70000\n", "0 to 65535"),
        ('lateness = "soon"\n', "lateness"),
        ('allow_list = ["10.0.0.0/99"]\n', "allow_list"),
        ("port = \n", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_names_file_and_key(tmp_path: Path, toml: str, said: str) -> None:
    """Unknown keys and bad values stop the start; nothing is ignored."""
    file = tmp_path / "s.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load_settings({}, {"SENTINEL_CONFIG": str(file)})
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """A service must not start with defaults because a path was mistyped."""
    with pytest.raises(ConfigError, match="can't be read"):
        load_settings({}, {"SENTINEL_CONFIG": str(tmp_path / "none.toml")})


def test_lists_come_with_commas_from_the_environment() -> None:
    """Networks are normalised: host bits cleared, single addresses as /32."""
    settings = load_settings({}, {"SENTINEL_ALLOW_LIST": "10.1.2.3/8, 203.0.113.9,"})
    assert settings.allow_list == ("10.0.0.0/8", "203.0.113.9/32")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("7d", 604_800), ("250ms", 0.25), ("30", 30)]
)
def test_durations(text: str, seconds: float) -> None:
    """A number with a unit, or plain seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1y", "", "h"])
def test_what_is_no_duration(text: str) -> None:
    """Negative, endless and unknown ones are refused."""
    with pytest.raises(ValueError, match=r".+"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"SENTINEL_TLS_KEY": "k"}, "tls_key: needs tls_certificate"),
        ({"SENTINEL_TLS_CLIENT_CA": "c"}, "tls_client_ca: needs tls_certificate"),
        ({"SENTINEL_TLS_CERTIFICATE": "x", "SENTINEL_TLS_CLIENTS": "required"}, "tls_clients: needs tls_client_ca"),
        ({"SENTINEL_TLS_CERTIFICATE": "x", "SENTINEL_TLS_SCRAPERS": "p"}, "tls_scrapers: needs tls_client_ca"),
        ({"SENTINEL_TLS_CLIENTS": "perhaps"}, "write optional or required"),
    ],
)
def test_half_of_tls_is_refused(given: dict[str, str], reason: str) -> None:
    """Who sets a part of it believes to be protected, and must not find out otherwise later."""
    with pytest.raises(ConfigError) as caught:
        load_settings({}, given)
    assert reason in str(caught.value)
