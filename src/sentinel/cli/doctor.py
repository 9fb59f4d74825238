"""`sentinel doctor`."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import reduce
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from sentinel.cli._checks import Check, ask_service, bad, counted, good, tell
from sentinel.cli._checks.machine import machine_checks
from sentinel.cli._service import AsJson, DataDir, connect_running
from sentinel.errors import ConfigError, SentinelError
from sentinel.settings import Settings, load_settings

__all__ = ["doctor"]

_LINES = 2_000


def doctor(
    data_dir: DataDir = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Block an address that nobody has and let it go, as a proof.")
    ] = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="Only ask whether events are taken, for health checks.")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="Also write a .tar.gz for others: no address, name, token or text is in it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Find out why it does not work: settings, folder, disk, clock, port, TLS, rules, service. Exit code 1: a problem.

    Nothing is changed, unless --probe is given.

    Example: sentinel doctor
    """
    try:
        settings = load_settings({"data_dir": data_dir})
    except SentinelError as err:
        tell([bad("settings", str(err), "docs/reference/settings.md has them all")], as_json=as_json)
        return
    if ready:
        raise typer.Exit(0 if asyncio.run(_ready(settings)) else 1)
    checks = [good("settings", "they can be read"), *machine_checks(settings), *ask_service(settings, probe=probe)]
    if bundle is not None:
        _write(bundle, settings, checks)
        sys.stderr.write(f"{bundle} is written; look into it before you give it away\n")
    tell(checks, as_json=as_json)


async def _ready(settings: Settings) -> bool:
    with suppress(httpx.HTTPError, SentinelError):
        async with connect_running(settings) as client:
            return client is not None and (await client.get("/readyz")).is_success
    return False


# --- the bundle


def _write(path: Path, settings: Settings, checks: Iterable[Check]) -> None:
    parts = {
        "checks.json": json.dumps(_redacted(_unplaced(counted(list(checks)), settings)), indent=1),
        "settings.json": json.dumps(_settings(settings), indent=1),
        "versions.json": json.dumps(_versions(), indent=1),
        "log.json": json.dumps(_log(settings.data_dir / "logs" / "api.log"), indent=1),
        "folder.json": json.dumps(_folder(settings.data_dir), indent=1),
    }
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as err:
        raise ConfigError(f"can't be written: {err.strerror}", where=str(path)) from None
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in parts.items():
            content = text.encode()
            info = tarfile.TarInfo(f"sentinel-doctor/{name}")
            info.size, info.mode = len(content), 0o600
            archive.addfile(info, BytesIO(content))


_HIDDEN = (
    (re.compile(r"sntl_\w+"), "<token>"),
    (re.compile(r"""(?<![\w<])(?:https?://|postgres(?:ql)?://|/)[^\s;,'")]+"""), "<place>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?:/\d+)?"), "<address>"),
    (re.compile(r"(?i)(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?:/\d+)?"), "<address>"),
    (re.compile(r"(?i)[\w.+-]+@[\w-]+\.[\w.]+"), "<mail>"),
    (re.compile(r"[\w-]+(?:\.[\w-]+)+:\d+(?![\d:])"), "<address>"),
    (re.compile(r"(?<= on )(?!the |disk)[^;,]+"), "<target>"),
)


def _redacted(value: Any) -> Any:
    """Return the same without what names people, machines or secrets."""
    return _each_text(value, lambda text: reduce(lambda left, hidden: hidden[0].sub(hidden[1], left), _HIDDEN, text))


def _unplaced(value: Any, settings: Settings) -> Any:
    """Return the same without the paths in the settings: relative ones look like any other words."""
    named = (getattr(settings, name) for name in Settings.__dataclass_fields__)
    paths = {str(path) for path in named if isinstance(path, Path) and (path.suffix or len(path.parts) > 1)}
    longest_first = sorted(paths, key=len, reverse=True)
    return _each_text(value, lambda text: reduce(lambda left, path: left.replace(path, "<place>"), longest_first, text))


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _each_text(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _settings(settings: Settings) -> dict[str, Any]:
    """Return numbers and switches as they are; of what names people, machines or places only that it is there."""
    found: dict[str, Any] = {}
    for name in Settings.__dataclass_fields__:
        value = getattr(settings, name)
        if value is None or isinstance(value, bool | int | float):
            found[name] = value
        else:
            found[name] = f"{len(value)} of them" if isinstance(value, tuple) else "set"
    return found


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in ("sentinel-ai", "fastapi", "uvicorn", "sqlalchemy", "asyncpg", "cryptography", "google-re2", "msgspec"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _log(path: Path) -> list[dict[str, object]]:
    """Return how often which line was written lately: level and words, nothing that stands behind them."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
    except OSError:
        return []
    seen: Counter[tuple[str, str]] = Counter()
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            found = json.loads(line)
            words = re.split(r" - | on |: (?=\S*\d)", str(found["event"]))[0]
            seen[str(found["level"]), _redacted(words)] += 1
    return [{"level": level, "event": event, "times": times} for (level, event), times in seen.most_common()]


def _folder(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
