"""
Settings are read once, here, and handed down as values: flag > environment > TOML file > default.

Environment names are `SENTINEL_` plus the upper-case key; lists are comma separated. The TOML file has the same keys in
lower case at top level. An unknown key stops the start with the nearest name.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from sentinel.errors import ConfigError
from sentinel.model import DEFAULT_DEPTH, DEPTHS, Depth

__all__ = ["Settings", "load_settings", "parse_duration"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a service needs to know to start; each field is a setting of the same name."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free port; the one taken is in the data folder's `service.json`."""
    metrics_port: int | None = None
    """A port that answers /metrics alone, beside the API's; None = no such port, 0 takes a free one."""
    metrics_host: str = "127.0.0.1"
    data_dir: Path = Path("data")
    database_url: str | None = field(default=None, repr=False)
    """PostgreSQL in place of the data folder's own file: `postgresql://USER@HOST/NAME`; None = the file."""
    redis_url: str | None = field(default=None, repr=False)
    """Redis that gets what is in force: `redis://HOST/0`, `redis+cluster://HOST,HOST`, `rediss` with TLS; or None."""
    judge: str = "auto"
    """Of the nodes that share a PostgreSQL database one judges; `no` = never this one, `auto` = when none does."""
    rules_dir: tuple[str, ...] = ("default",)
    """Folders with Sigma rules; `default` names the shipped ones."""
    policy_file: Path | None = None
    """None = the shipped policy."""
    baselines_file: Path | None = None
    """How sensitive each metric of the baselines is; None = the defaults."""
    escalation_file: Path | None = None
    """Who is told about an incident, and when; None = everybody on standard error."""
    alertmanager_urls: tuple[str, ...] = ()
    """Where incidents that people are called about are pushed to; without it Prometheus alone tells Alertmanager."""
    alertmanager_token_file: Path | None = None
    alertmanager_ca_file: Path | None = None
    alertmanager_cert_file: Path | None = None
    """Our certificate, where Alertmanager wants one."""
    alertmanager_key_file: Path | None = None
    """Its key; None = in the same file."""
    allow_list: tuple[str, ...] = ()
    """Addresses and networks that are never blocked."""
    protected_users: tuple[str, ...] = ()
    """Users whom no action may be aimed at."""
    trusted_proxies: tuple[str, ...] = ()
    """Peers whose X-Forwarded-For is believed; they are never blocked."""
    scan_depth: Depth = DEFAULT_DEPTH
    """Where POST /api/v1/scan takes a second look, unless a request says otherwise: `fast`, `auto` or `full`."""
    blast_radius: int = 100
    """New actions a minute of one kind by one rule of the policy, beyond which they become rate limits."""
    lateness: float = 3600.0
    """Seconds after which an arriving event is late: stored and counted, not correlated."""
    window_memory_mb: int = 1024
    """Memory, about, that the events which rules count may take before those go that no event to come needs."""
    high_threat_rate: int = 10
    """Unsafe texts a second, over all nodes, beyond which the alert HighThreatRate fires."""
    queue_limit: int = 100_000
    """Accepted but unprocessed events beyond which new ones are refused with 429; one source alone may hold half."""
    known_services: tuple[str, ...] = ()
    """Names that metrics have from the start, so that their series begin at 0; others are learned."""
    known_tables: tuple[str, ...] = ()
    known_tools: tuple[str, ...] = ()
    known_endpoints: tuple[str, ...] = ()
    log_retention_days: int = 30
    retention_days: int = 90
    """Events, signals, incidents and ended actions are deleted after so many days."""
    audit_retention_days: int = 730
    """Entries of the audit log likewise; a signed checkpoint stands for them."""
    audit_anchor: Path | None = None
    """File of signed checkpoints of the audit log; None = `anchors/checkpoints.jsonl` in the data folder."""
    tls_certificate: Path | None = None
    """Serve HTTPS with it; PEM, with those between it and its authority. A renewed file is taken without a restart."""
    tls_key: Path | None = None
    """None = in the same file."""
    tls_client_ca: Path | None = None
    """Authorities (PEM) whose clients' certificates are believed; None = clients are not asked for one."""
    tls_clients: str = "optional"
    """Whether a client must have one: `optional` or `required`."""
    tls_scrapers: tuple[str, ...] = ()
    """DNS names in clients' certificates that may read the metrics without a token."""
    webhook_secret_file: Path | None = None
    """Secret of the signatures of POST /alerts/webhook; None = only tokens."""
    audit_key_file: Path | None = None
    """Key that signs them; None = `audit.key` in the data folder, made at the first start."""
    audit_old_keys: tuple[Path, ...] = ()
    """Files of the keys that signed before it, oldest first."""

    @property
    def token_file(self) -> Path:
        """Where the first admin token lies."""
        return self.data_dir / "token"

    @property
    def anchor_path(self) -> Path:
        """Where the checkpoints of the audit log go."""
        return self.audit_anchor or self.data_dir / "anchors" / "checkpoints.jsonl"

    @property
    def audit_key_path(self) -> Path:
        """Where the key that signs them lies."""
        return self.audit_key_file or self.data_dir / "audit.key"

    @property
    def thresholds_path(self) -> Path:
        """Where the thresholds lie that people have set."""
        return self.data_dir / "thresholds.json"

    @property
    def baselines_path(self) -> Path:
        """Where the limits of baselines lie that people have set over the API."""
        return self.data_dir / "baselines.json"

    @property
    def store_place(self) -> Path | str:
        """Where the store is: a file, or the URL of a PostgreSQL database."""
        return self.database_url or self.database_path

    @property
    def database_path(self) -> Path:
        """The SQLite file of the embedded store."""
        return self.data_dir / "sentinel.db"


def parse_duration(text: str) -> float:
    """Return `90s`, `15m`, `1h`, `7d` or a plain number of seconds as seconds; `ValueError` otherwise."""
    if match := _DURATION.fullmatch(text.strip()):
        return float(match[1]) * _UNIT_SECONDS[match[2]]
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError("a duration is a number of seconds from 0, or a number with ms, s, m, h, d or w")
    return seconds


def _names(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise TypeError("expected a list, or text with commas")
    return tuple(part.strip() for part in map(str, parts) if part.strip())


def _networks(value: object) -> tuple[str, ...]:
    return tuple(str(ip_network(part, strict=False)) for part in _names(value))


def _urls(value: object) -> tuple[str, ...]:
    urls = _names(value)
    if not all(re.fullmatch(r"https?://[^\s@?#]+", url) for url in urls):
        raise ValueError("expected http:// or https:// and a host, without a password: a token has a file of its own")
    return urls


def _database(value: object) -> str:
    url = str(value)
    if not re.fullmatch(r"postgres(ql)?://[^\s/]+/[^\s/?]+(\?\S*)?", url):  # not shown: it may hold a password
        raise ValueError("expected postgresql://USER@HOST/NAME; in a password, write a space, / or @ as %20, %2F, %40")
    return url


def _port(value: object) -> int:
    port = int(str(value))
    if not 0 <= port <= 65_535:  # noqa: PLR2004 - the range of TCP ports
        raise ValueError("a port is a number from 0 to 65535")
    return port


def _positive(value: object) -> int:
    number = int(str(value))
    if number < 1:
        raise ValueError("expected a whole number from 1")
    return number


def _depth(value: object) -> str:
    if value not in DEPTHS:
        raise ValueError(f"write {', '.join(DEPTHS[:-1])} or {DEPTHS[-1]}")
    return str(value)


def _tls_clients(value: object) -> str:
    if value not in {"optional", "required"}:
        raise ValueError("write optional or required")
    return str(value)


def _redis(value: object) -> str:
    url = str(value)
    if not re.fullmatch(r"rediss?(\+cluster)?://[^\s/]+(/\d*)?(\?\S*)?", url):  # not shown: it may hold a password
        raise ValueError("expected redis://HOST:PORT/NUMBER, redis+cluster://HOST:PORT,HOST:PORT, or rediss for TLS")
    return url


def _judge(value: object) -> str:
    if value not in {"auto", "no"}:
        raise ValueError("write auto or no")
    return str(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "host": str,
    "port": _port,
    "metrics_port": _port,
    "metrics_host": str,
    "data_dir": Path,
    "database_url": _database,
    "redis_url": _redis,
    "judge": _judge,
    "rules_dir": _names,
    "policy_file": Path,
    "baselines_file": Path,
    "escalation_file": Path,
    "alertmanager_urls": _urls,
    "alertmanager_token_file": Path,
    "alertmanager_ca_file": Path,
    "alertmanager_cert_file": Path,
    "alertmanager_key_file": Path,
    "allow_list": _networks,
    "protected_users": lambda value: tuple(unicodedata.normalize("NFC", name) for name in _names(value)),
    "trusted_proxies": _networks,
    "scan_depth": _depth,
    "blast_radius": _positive,
    "lateness": lambda value: parse_duration(str(value)),
    "window_memory_mb": _positive,
    "high_threat_rate": _positive,
    "queue_limit": _positive,
    "known_services": _names,
    "known_tables": _names,
    "known_tools": _names,
    "known_endpoints": _names,
    "log_retention_days": _positive,
    "retention_days": _positive,
    "audit_retention_days": _positive,
    "audit_anchor": Path,
    "audit_key_file": Path,
    "audit_old_keys": lambda value: tuple(map(Path, _names(value))),
    "tls_certificate": Path,
    "tls_key": Path,
    "tls_client_ca": Path,
    "tls_clients": _tls_clients,
    "tls_scrapers": _names,
    "webhook_secret_file": Path,
}


def load_settings(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] = os.environ,  # noqa: TID251 - the one place that reads it
) -> Settings:
    """
    Return the settings from flags, environment and the TOML file named by `SENTINEL_CONFIG` (or `./sentinel.toml`).

    Args:
        flags: Values given on the command line; None means not given.
        environ: The process environment.

    Raises:
        ConfigError: An unknown key or a value that can't be read; names the place.
    """
    values: dict[str, object] = {}
    named = environ.get("SENTINEL_CONFIG")
    path = Path(named or "sentinel.toml")
    if named or path.is_file():
        values |= _from_toml(path)
    for key, read in _READERS.items():
        if text := environ.get(f"SENTINEL_{key.upper()}"):
            values[key] = _read(read, text, f"environment variable SENTINEL_{key.upper()}")
    for key, value in (flags or {}).items():
        if value not in (None, [], ()):
            values[key] = _read(_READERS[key], value, f"--{key.replace('_', '-')}")
    settings = Settings(**values)  # type: ignore[arg-type]  # _READERS gives each field its type
    _agree(settings)
    return settings


def _agree(settings: Settings) -> None:
    """Refuse what looks like TLS, or like clients that are asked for a certificate, or like a judge, and is none."""
    without = "needs tls_certificate as well"
    if settings.tls_certificate is None and (settings.tls_key or settings.tls_client_ca):
        raise ConfigError(without, where="tls_key" if settings.tls_key else "tls_client_ca")
    if settings.judge == "no" and settings.database_url is None:
        raise ConfigError("needs database_url as well: nobody else could judge", where="judge")
    if settings.tls_client_ca is None and (settings.tls_scrapers or settings.tls_clients == "required"):
        where = "tls_scrapers" if settings.tls_scrapers else "tls_clients"
        raise ConfigError("needs tls_client_ca as well: without it nobody is asked for a certificate", where=where)


def _from_toml(path: Path) -> dict[str, object]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(f"can't be read: {err.strerror}", where=str(path)) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"is not valid TOML: {err}", where=str(path)) from err
    known = [field.name for field in fields(Settings)]
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            raise ConfigError(f"unknown setting {key!r}{hint}", where=str(path))
        values[key] = _read(_READERS[key], value, f"{path}: {key}")
    return values


def _read(read: Callable[[Any], Any], value: object, where: str) -> object:
    try:
        return read(value)
    except (ValueError, TypeError) as err:
        raise ConfigError(str(err), where=where) from err
