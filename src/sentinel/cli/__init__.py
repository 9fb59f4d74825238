"""The command line: `sentinel COMMAND`. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import os
import sys

from sentinel.cli._root import app
from sentinel.errors import OutsideError, SentinelError

__all__ = ["app", "run"]

# httpx loads click, rich and pygments for a command line of its own, and does without where that can't be loaded.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]


def run() -> int:
    """
    Run the command line.

    Returns:
        2 for a mistake in usage or configuration, 4 when the service can't be reached, 74 when the disk refuses.
    """
    try:
        result = app(standalone_mode=False)
    except SentinelError as err:
        sys.stderr.write(f"sentinel: {err}\n")
        return os.EX_IOERR if isinstance(err, OutsideError) else 2
    except Exception as err:  # noqa: BLE001 - the parser's own errors can only be told by what they can do
        return _usage(err)
    return result if isinstance(result, int) else 0


def _usage(err: Exception) -> int:
    """Show what the command line parser found wrong; anything else is a defect and keeps its traceback."""
    show = getattr(err, "show", None)
    if show is None:
        if type(err).__name__ == "Abort":
            return 130
        raise err
    show()
    return int(getattr(err, "exit_code", 2))
