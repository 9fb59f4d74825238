"""Where the policy lies: a file that may change while it is in force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sentinel.errors import ConfigError
from sentinel.observability import Log
from sentinel.response import Policy, default_policy, parse_policy

__all__ = ["PolicyFile", "read_policy"]


def read_policy(path: Path | None) -> Policy:
    """Return the policy in a file, or the shipped one; `ConfigError` names file and line."""
    if path is None:
        return default_policy()
    try:
        return parse_policy(path.read_text(encoding="utf-8"), str(path))
    except OSError as err:
        raise ConfigError(f"can't be read: {err.strerror}", where=str(path)) from err
    except UnicodeDecodeError:
        raise ConfigError("is no text in UTF-8", where=str(path)) from None


class PolicyFile:
    """Follows a policy's file: a good one is put in force, a broken one is told of and the last good one stays."""

    def __init__(self, path: Path | None, take: Callable[[Policy], None], log: Log) -> None:
        self._path = path
        self._take = take
        self._log = log
        self._state = self._looks()
        self.rejected: str | None = None
        """Why the file as it is now is not in force; None when it is."""

    def look(self) -> None:
        """See whether the file has changed, and read it if so."""
        state = self._looks()
        if state == self._state:
            return
        self._state = state
        try:
            policy = read_policy(self._path)
        except ConfigError as err:
            self.rejected = str(err)
            self._log.error("policy not reloaded, the last good one stays in force", reason=str(err))
        else:
            self.rejected = None
            self._take(policy)
            self._log.info("policy reloaded", rules=len(policy.rules))

    def _looks(self) -> tuple[int, int, int] | None:
        """Return what tells one state of the file from another; None without a file."""
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:  # gone: reading it will say so
            return (0, 0, 0)
        return (status.st_ino, status.st_size, status.st_mtime_ns)
