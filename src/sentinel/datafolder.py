"""
What lies in a data folder beside the store, and who may work on it.

One process at a time: the kernel's file lock ends with the process, however that ends. The one that serves writes
`service.json`, so that commands find it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from sentinel.errors import ConfigError

__all__ = [
    "OTHERS",
    "DataFolderBusy",
    "lock",
    "others_may_read",
    "own_secret",
    "publish_address",
    "read_key",
    "service_address",
    "service_tls",
    "withdraw_address",
    "write_secret",
]


OTHERS = 0o077
"""The bits of a mode that let somebody else in."""


class DataFolderBusy(ConfigError):
    """Another process works on this data folder."""


def lock(folder: Path) -> IO[str]:
    """
    Take a data folder for this process, making it if need be; closing what is returned lets go of it.

    Raises:
        DataFolderBusy: Another process has it.
        ConfigError: It can't be made or used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (folder / "lock").open("a", encoding="ascii")
    except OSError as err:
        raise ConfigError(f"the data folder can't be used: {err.strerror}", where=str(folder)) from err
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise DataFolderBusy("another Sentinel works on this data folder", where=str(folder)) from None
    return file


def publish_address(
    folder: Path, url: str | None, *, metrics_url: str | None = None, tls: Mapping[str, str] | None = None
) -> None:
    """
    Say where the service of this folder listens; a half-written file is never seen.

    Args:
        folder: The data folder.
        url: Where; None for a process that answers nothing but its metrics.
        metrics_url: Where the metrics alone are, if anywhere.
        tls: For https the `certificate` in force (PEM), by which commands on this machine know the service, and, where
            clients must have one, `own_certificate` and `own_key`: files by which they make themselves known.
    """
    part = folder / "service.json.part"
    told: dict[str, object] = {"pid": os.getpid()} | ({} if url is None else {"url": url})
    told |= ({"metrics_url": metrics_url} if metrics_url else {}) | ({} if tls is None else {"tls": tls})
    part.write_text(json.dumps(told), encoding="utf-8")
    part.replace(folder / "service.json")


def withdraw_address(folder: Path) -> None:
    """Say that no service listens any more."""
    (folder / "service.json").unlink(missing_ok=True)


def service_address(folder: Path) -> str | None:
    """Return where the service of this folder listens; only meaningful while another process holds the lock."""
    try:
        return str(json.loads((folder / "service.json").read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError):
        return None


def metrics_address(folder: Path) -> str | None:
    """Return where a process of this folder that takes no requests shows its metrics, and whether it is ready."""
    try:
        return str(json.loads((folder / "service.json").read_text(encoding="utf-8"))["metrics_url"])
    except (OSError, ValueError, KeyError):
        return None


def service_tls(folder: Path) -> Mapping[str, str] | None:
    """Return what `publish_address` was told of TLS."""
    try:
        found: Mapping[str, str] | None = json.loads((folder / "service.json").read_text("utf-8")).get("tls")
    except (OSError, ValueError):
        return None
    return found


def others_may_read(path: Path) -> bool:
    """Whether a file is open to others than its owner, and so is the folder that it lies in."""
    return bool(path.stat().st_mode & OTHERS and path.parent.stat().st_mode & OTHERS)


def own_secret(path: Path) -> bytes:
    """Return the 32 random bytes in a file, made at the first call."""
    if not path.exists():
        write_secret(path, secrets.token_bytes(32))
    return path.read_bytes()


def read_key(path: Path) -> bytes:
    """Return what a key file holds; `ConfigError` when it can't be read or is empty."""
    try:
        key = path.read_bytes()
    except OSError as err:
        raise ConfigError(f"the key can't be read: {err.strerror}", where=str(path)) from err
    if not key:
        raise ConfigError("the key is empty", where=str(path))
    return key


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
